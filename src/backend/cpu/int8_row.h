// Quantisation to int8: x is about scale * q with q in [-127, 127], one scale for a row of
// activations or of weights.
#pragma once

#include <cstddef>
#include <cstdint>

#include "backend/cpu/buffer.h"

namespace diffulex::cpu {

// Begins a row of activations as an int8 product reads it; its elements (int8, zeros up to a
// multiple of kInt8Pad) follow kInt8Head bytes behind. A row carries its scale along, so rows may
// be copied and handed on as they are.
struct Int8RowHead {
  float scale;     // NaN when the row was not finite: so are all its products then
  int32_t offset;  // kInt8Shift times the sum of the elements
};
inline constexpr size_t kInt8Head = 64;
inline constexpr int64_t kInt8Pad = 64;
inline constexpr int kInt8Shift = 128;  // weights are stored as q + kInt8Shift, see Int8Kernels

constexpr size_t int8_row_bytes(int64_t cols) {
  return kInt8Head + static_cast<size_t>(round_up(cols, kInt8Pad));
}

struct Int8Scale {
  float scale;
  float inverse;  // elements are the rounded x * inverse
};

// For a row whose largest magnitude is `most`. A row below 2^-100 counts as zeros (scale 0), so
// that the inverse is finite; one that is not finite gets a scale of NaN and elements of 0.
Int8Scale int8_scale(float most);

// The largest magnitude of x; not finite when any element is not.
float max_magnitude(const float* x, int64_t n);

// out[i] = x[i] * inverse, rounded to nearest even. Returns the sum of out.
int32_t quantise(const float* x, int64_t n, float inverse, int8_t* out);

// A whole row of activations: its head, elements and padding.
void quantise_row(const float* x, int64_t n, std::byte* row);
void quantise_row(const uint16_t* x, int64_t n, std::byte* row);  // bf16

}  // namespace diffulex::cpu
