// Dream, Dream-Coder and DiffuCoder: a Qwen2.5 body whose row p - 1 predicts position p.
#pragma once

#include "model/family.h"

namespace diffulex {

bool is_dream(const ModelIdentity& identity);
ArchSpec parse_dream(ConfigReader& config);

inline constexpr Family kDream = {
    .name = "dream",
    .matches = is_dream,
    .parse = parse_dream,
    .tensors = llama_tensors,
    .default_mask_token = 151666,
    .turn_end = "<|im_end|>",
    .decoding = {.strategy = "d2f", .buffer_blocks = 4, .accept_threshold = 0.95F, .shift = true}};

}  // namespace diffulex
