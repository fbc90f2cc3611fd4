// How long a prompt takes until its first token is there.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "device_limits.h"

namespace diffulex_bench {

struct FirstToken {
  const ModelShape* model = nullptr;
  int prompt = 0;
  int max_batched = 0;             // rows of one forward at most
  int steps = 0;                   // until a step had filled a mask
  double ms = 0;                   // by the host's clock, from the submission on; median
  Floor floor;                     // of all rows in one forward
  double prompt_plus_step_ms = 0;  // the prompt's operations, then a step of its own
};

// Prompts of 256 and of 4096 tokens, the latter in one forward and in chunks of 512.
std::vector<FirstToken> time_first_tokens(const ModelShape& model,
                                          std::span<const uint16_t> numbers,
                                          const DeviceLimits& limits);

}  // namespace diffulex_bench
