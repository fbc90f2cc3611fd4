// Stable-DiffCoder: a Llama body (Seed-Coder) trained to fill blocks of four, causal between them.
#pragma once

#include "model/family.h"

namespace diffulex {

bool is_stable_diffcoder(const ModelIdentity& identity);
ArchSpec parse_stable_diffcoder(ConfigReader& config);

inline constexpr Family kStableDiffcoder = {
    .name = "stable_diffcoder",
    .matches = is_stable_diffcoder,
    .parse = parse_stable_diffcoder,
    .tensors = llama_tensors,
    .default_mask_token = 5,
    .decoding = {.accept_threshold = 0.95F, .force_always = true}};

}  // namespace diffulex
