// LLaDA 8B, LLaDA-1.5 and iLLaDA: a Llama body with OLMo's names for keys and tensors.
#pragma once

#include "model/family.h"

namespace diffulex {

bool is_llada(const ModelIdentity& identity);
ArchSpec parse_llada(ConfigReader& config);

inline constexpr Family kLlada = {
    .name = "llada",
    .matches = is_llada,
    .parse = parse_llada,
    .tensors = olmo_tensors,
    .default_mask_token = 126336,
    .turn_end = "<|eot_id|>",
    .decoding = {.strategy = "d2f", .buffer_blocks = 4, .accept_threshold = 0.95F}};

}  // namespace diffulex
