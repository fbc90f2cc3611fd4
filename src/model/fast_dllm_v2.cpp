#include "model/fast_dllm_v2.h"

#include <algorithm>

#include "model/dense_config.h"

namespace diffulex {

bool is_fast_dllm_v2(const ModelIdentity& identity) {
  const auto& names = identity.architectures;
  return std::any_of(names.begin(), names.end(),
                     [](const std::string& name) { return name.starts_with("Fast_dLLM"); }) ||
         identity.model_type == "Fast_dLLM_Qwen" || identity.model_type == "FastdLLMV2";
}

ArchSpec parse_fast_dllm_v2(ConfigReader& config) {
  const int block_size = config.size_or("bd_size", 32, kMaxBlockSize);
  ArchSpec arch = read_dense_config(config, {});
  arch.qkv_bias = true;  // as in all Qwen2.5 models, whatever config.json says
  arch.output_bias = false;
  arch.block_size = block_size;
  return arch;
}

}  // namespace diffulex
