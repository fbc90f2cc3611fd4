// SDAR (and TraDo): a Qwen3 body trained to fill blocks of masks, causal between blocks.
#pragma once

#include "model/family.h"

namespace diffulex {

bool is_sdar(const ModelIdentity& identity);
ArchSpec parse_sdar(ConfigReader& config);

inline constexpr Family kSdar = {.name = "sdar",
                                 .matches = is_sdar,
                                 .parse = parse_sdar,
                                 .tensors = llama_tensors,
                                 .default_mask_token = 151669,
                                 .turn_end = "<|im_end|>",
                                 .decoding = {.accept_threshold = 0.95F}};

}  // namespace diffulex
