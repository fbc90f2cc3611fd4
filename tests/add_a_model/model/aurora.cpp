#include "model/aurora.h"

#include "model/dense_config.h"

namespace diffulex {

bool is_aurora(const ModelIdentity& identity) {
  return identity.has_architecture("AuroraForDiffusion") || identity.model_type == "aurora";
}

ArchSpec parse_aurora(ConfigReader& config) {
  config.refuse_flag("use_sinks", true, "attention sinks");
  const int block_size = config.size_or("block_length", 8, kMaxBlockSize);
  ArchSpec arch = read_dense_config(config, {.head_dim = 128, .rope_theta = 1000000});
  arch.qk_norm = true;
  arch.block_size = block_size;
  return arch;
}

}  // namespace diffulex
