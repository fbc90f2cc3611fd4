// The inner loop of int8 products: activation rows with one tile of a matrix.
#pragma once

#include <cstddef>
#include <cstdint>

#include "backend/cpu/int8_row.h"

namespace diffulex::cpu {

// A tile's weights lie in panels of kInt8Panel columns, each [depth / 4][kInt8Panel][4] bytes: four
// elements of a column are one lane of the instruction that multiplies unsigned by signed bytes and
// adds four products to a sum of 32 bits (vpdpbusd; it does not saturate). That is why a stored
// weight is q + kInt8Shift in [1, 255]; what the shift adds, a row's Int8RowHead::offset takes away
// again. Sums are exact: the depth is limited to kInt8MaxDepth, so that neither the shifted sum nor
// the offset leaves 32 bits.
inline constexpr int64_t kInt8Panel = 32;
inline constexpr int64_t kInt8DepthStep = 16;  // the depth of panels is a multiple
inline constexpr int64_t kInt8RowStep = 8;     // rows come in multiples
inline constexpr int64_t kInt8MaxDepth = 65536;

constexpr int64_t int8_depth(int64_t cols) { return round_up(cols, kInt8DepthStep); }

struct Int8Product {
  const std::byte* x = nullptr;  // rows that begin with an Int8RowHead
  size_t x_stride = 0;           // bytes from one row to the next
  int64_t rows = 0;              // a multiple of kInt8RowStep
  const uint8_t* weights = nullptr;
  const float* scales = nullptr;  // [width rounded up to kInt8Panel]
  int64_t depth = 0;              // int8_depth()
  int64_t width = 0;              // columns
  const uint8_t* next = nullptr;  // a tile that is likely to come next: brought near; or null
  bool accumulate = false;
  float* y = nullptr;  // [rows, width] dense
};

// Every element is (accumulate ? y : 0) + sum * (row scale * column scale), whatever the other rows
// and columns are.
struct Int8Kernels {
  const char* name;
  void (*multiply)(const Int8Product& product);
};

// Products of pairs of 16-bit integers, in the widest instruction set at hand.
const Int8Kernels& portable_int8();

// AVX512_VNNI; null where the processor has no such instruction.
const Int8Kernels* avx512_vnni_int8();

inline const Int8Kernels& best_int8() {
  const Int8Kernels* const fast = avx512_vnni_int8();
  return fast != nullptr ? *fast : portable_int8();
}

}  // namespace diffulex::cpu
