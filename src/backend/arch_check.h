// What the kernels of every backend ask of a model's shape.
#pragma once

#include "model/arch.h"

namespace diffulex {

inline constexpr int kLeastHeadDim = 16, kMostHeadDim = 512;  // and multiples of 8

// Throws Error(DIFFULEX_E_MODEL_UNSUPPORTED) naming the key of config.json.
void check_heads(const ArchSpec& arch);

}  // namespace diffulex
