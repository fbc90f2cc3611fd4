#include "model/sdar.h"

#include "model/dense_config.h"

namespace diffulex {

bool is_sdar(const ModelIdentity& identity) {
  return identity.has_architecture("SDARForCausalLM") || identity.model_type == "sdar";
}

ArchSpec parse_sdar(ConfigReader& config) {
  // Most checkpoints say their block size only in their name (-b8, -b16, ...): then it is 4 until
  // the user says otherwise.
  const int block_size = config.size_or("block_size", 4, kMaxBlockSize);
  ArchSpec arch = read_dense_config(config, {.head_dim = 128});
  arch.qk_norm = true;
  arch.block_size = block_size;
  arch.accept_threshold = 0.95F;
  return arch;
}

}  // namespace diffulex
