#include "model/dream_reasoner.h"

#include "model/dense_config.h"

namespace diffulex {

bool is_dream_reasoner(const ModelIdentity& identity) {
  return identity.model_type == "Dream" &&
         (identity.has_architecture("DreamForCausalLM") || identity.has_qk_norm);
}

ArchSpec parse_dream_reasoner(ConfigReader& config) {
  const int block_size = config.size_or("block_size", 32, kMaxBlockSize);
  ArchSpec arch = read_dense_config(config, {});
  arch.qk_norm = true;
  arch.block_size = block_size;
  return arch;
}

}  // namespace diffulex
