// Element-wise work of the forward, one row at a time, on raw pointers. Every function picks the
// instruction set at run time.
#pragma once

#include <cstddef>
#include <cstdint>

namespace diffulex::cpu {

// An f32 matrix cut into column tiles as matrix products write it: element (r, n) is
// data[n / tile * tile_stride + r * width + n % tile], where width is `tile` but in a shorter last
// tile.
struct TiledRows {
  float* data;
  int64_t cols;
  int64_t tile;         // columns of a tile
  int64_t tile_stride;  // elements from one tile to the next

  int64_t width(int64_t n) const {
    return n / tile == (cols - 1) / tile ? cols - n / tile * tile : tile;
  }
  float* at(int64_t row, int64_t n) const {
    return data + n / tile * tile_stride + row * width(n) + n % tile;
  }
};

// Output of a row: exactly one of the two is set.
struct RowOut {
  float* f32;
  uint16_t* bf16;
};

// out = x * rsqrt(mean(x^2) + eps) * weight. bias: added to x in place before, or null.
void norm_row(const TiledRows& x, int64_t row, const float* bias, const float* weight, float eps,
              RowOut out);

// One head: x [dim] (+ bias), RMS norm when weight is set, rotation of the pairs (i, i + dim/2)
// when angles is set (cosines [dim/2], then sines [dim/2]).
void rotate_head(const float* x, const float* bias, const float* weight, float eps,
                 const float* angles, int dim, RowOut out);

// out[i] = gate[i] / (1 + exp(-gate[i])) * up[i]
void swiglu_row(const float* gate, const float* up, int64_t n, RowOut out);

// x[i] += bias[i]
void add_row(const float* bias, int64_t n, float* x);

// out[i] = x[i] * scale, rounded where out is bf16.
void scale_row(const float* x, float scale, int64_t n, RowOut out);

// out[i] = x[i] widened.
void widen_row(const uint16_t* x, int64_t n, float* out);

// Part of the name of the instruction set that the functions above use, e.g. "AVX3_ZEN4".
const char* kernel_target();

}  // namespace diffulex::cpu
