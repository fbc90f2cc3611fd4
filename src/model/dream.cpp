#include "model/dream.h"

#include "model/dense_config.h"

namespace diffulex {

bool is_dream(const ModelIdentity& identity) { return identity.model_type == "Dream"; }

ArchSpec parse_dream(ConfigReader& config) {
  // Trained on whole responses; d2f denoises them in blocks of 32.
  const int block_size = config.size_or("block_size", 32, kMaxBlockSize);
  ArchSpec arch = read_dense_config(config, {});
  arch.qkv_bias = true;  // as in all Qwen2.5 models, whatever config.json says
  arch.output_bias = false;
  arch.block_size = block_size;
  return arch;
}

}  // namespace diffulex
