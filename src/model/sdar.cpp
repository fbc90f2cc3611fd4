#include "model/sdar.h"

#include "model/dense_config.h"

namespace diffulex {

bool is_sdar(const ModelIdentity& identity) {
  return identity.has_architecture("SDARForCausalLM") || identity.model_type == "sdar";
}

ArchSpec parse_sdar(ConfigReader& config) {
  // Forks read prompts otherwise and say so: better refused than read as they were not trained.
  config.refuse_flag("use_regular_causal", true, "prompts that are read token by token");
  config.refuse_flag("block_causal_prompt", false, "prompts that are not read by blocks");
  // Most checkpoints say their block size only in their name (-b8, -b16, ...): then it is 4 until
  // the user says otherwise.
  const int block_size = config.size_or("block_size", 4, kMaxBlockSize);
  ArchSpec arch = read_dense_config(config, {.head_dim = 128});
  arch.qk_norm = true;
  arch.block_size = block_size;
  return arch;
}

}  // namespace diffulex
