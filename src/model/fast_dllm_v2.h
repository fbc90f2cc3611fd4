// Fast-dLLM v2: a Qwen2.5 body, causal between blocks of bd_size, whose row p - 1 predicts
// position p.
#pragma once

#include "model/family.h"

namespace diffulex {

bool is_fast_dllm_v2(const ModelIdentity& identity);
ArchSpec parse_fast_dllm_v2(ConfigReader& config);

// Its own strategy denoises sub-blocks of a block. Without it, blocks are filled as a whole; the
// next one opens behind a finished one.
inline constexpr Family kFastDllmV2 = {
    .name = "fast_dllm_v2",
    .matches = is_fast_dllm_v2,
    .parse = parse_fast_dllm_v2,
    .tensors = llama_tensors,
    .default_mask_token = 151665,
    .turn_end = "<|im_end|>",
    .decoding = {.accept_threshold = 0.95F, .token_stability_threshold = 0.5, .shift = true}};

}  // namespace diffulex
