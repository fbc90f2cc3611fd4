// DreamReasoner: it calls itself a Dream but has a Qwen3 body, causal between blocks of 32, whose
// row p predicts position p.
#pragma once

#include "model/family.h"

namespace diffulex {

bool is_dream_reasoner(const ModelIdentity& identity);
ArchSpec parse_dream_reasoner(ConfigReader& config);

inline constexpr Family kDreamReasoner = {.name = "dream_reasoner",
                                          .matches = is_dream_reasoner,
                                          .parse = parse_dream_reasoner,
                                          .tensors = llama_tensors,
                                          .default_mask_token = 151669,
                                          .turn_end = "<|im_end|>",
                                          .decoding = {.accept_threshold = 0.95F}};

}  // namespace diffulex
