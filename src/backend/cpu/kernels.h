// SIMD kernels, dispatched at run time to the best instruction set. Raw pointers; the callers check.
#pragma once

#include <cstdint>

#include "base/dtype.h"
#include "decide/select.h"

namespace diffulex::cpu {

// out = x * rsqrt(mean(x^2) + eps) * weight, in f32, stored as `out_type`. [n]
void rms_norm(const float* x, const float* weight, int n, float eps, void* out, DType out_type);

// One head of a query or key: optional RMS norm over the head (norm_weight null: none), rotation of the pairs (i, i + n/2) by
// cos[i], sin[i], and a scale; f32 in place. [n], cos and sin [n/2]
void norm_rope(float* x, const float* norm_weight, int n, float eps, const float* cos, const float* sin, float scale);

// out = silu(gate) * up, stored as `out_type`. [n]
void swiglu(const float* gate, const float* up, int n, void* out, DType out_type);

void add_bias(float* x, const float* bias, int n);

// f32 <-> storage type. [n]
void store(const float* x, int n, void* out, DType out_type);
void load(const void* x, DType type, int n, float* out);

// Reduces one row's logits over one tile, in place: multiplies by `scale` (1 / T), treats what is not finite as -inf, and leaves
// exp(l - max) in `exps` when that is not null. n <= decide::kTileIds; ids are first_id + i.
decide::TilePartial reduce_tile(float* logits, int n, int32_t first_id, float scale, bool entropy, float* exps);

// Name of the instruction set in use, e.g. "AVX3".
const char* simd_name();

}  // namespace diffulex::cpu
