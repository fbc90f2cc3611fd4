// Aurora: a Qwen3 body, causal between blocks, that calls their size "block_length".
#pragma once

#include "model/family.h"

namespace diffulex {

bool is_aurora(const ModelIdentity& identity);
ArchSpec parse_aurora(ConfigReader& config);

inline constexpr Family kAurora = {.name = "aurora",
                                   .matches = is_aurora,
                                   .parse = parse_aurora,
                                   .tensors = llama_tensors,
                                   .default_mask_token = 151669,
                                   .turn_end = "<|im_end|>",
                                   .decoding = {.buffer_blocks = 2, .accept_threshold = 0.8F}};

}  // namespace diffulex
