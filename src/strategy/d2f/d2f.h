// d2f: discrete diffusion forcing. The prompt is read in both directions and computed in one
// forward; behind it several blocks are denoised at once under a block-causal mask. As every key of
// a prompt depends on the whole prompt, prefixes cannot be shared.
#pragma once

#include "strategy/strategy.h"

namespace diffulex {

extern const Strategy kD2f;

}  // namespace diffulex
