// multi_bd: multi-block diffusion. Several blocks are denoised at once under a block-causal mask, so that prefixes can be shared.
// A buffer of one block is single-block diffusion.
#pragma once

#include "strategy/strategy.h"

namespace diffulex {

extern const Strategy kMultiBd;

}  // namespace diffulex
