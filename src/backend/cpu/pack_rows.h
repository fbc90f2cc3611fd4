// Rows of a checkpoint's matrix on their way into the layout of a product.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/dtype.h"

namespace diffulex::cpu {

// Where element [n, k] of a tile lies: at by_n[n] + by_k[k], in elements. A unit is 4 bytes: one
// f32, or two bf16 where the layout keeps those of columns 2i and 2i + 1 together, as products of
// bf16 do; then units lie at unit_by_n[n] + unit_by_k[i], in units. Without units these are empty.
struct TileLayout {
  std::vector<uint32_t> by_n, by_k;
  std::vector<uint32_t> unit_by_n, unit_by_k;

  void find_units(DType dtype);  // from by_n and by_k
};

// Part of a row-major matrix in a checkpoint.
struct SourceRows {
  const std::byte* data;  // of the first row; any alignment
  DType dtype;
  int64_t cols;
  int64_t count;

  size_t row_bytes() const { return static_cast<size_t>(cols) * size_of(dtype); }
};

// Rows n, n + 1, ... of a tile of `dtype` (f32, bf16) become the source's rows, converted: rounded
// to nearest even, NaN stays NaN. The tile is 64-byte aligned.
void pack_rows(const SourceRows& source, const TileLayout& layout, DType dtype, int64_t n,
               std::byte* tile);

// count elements, converted; out is a float or bf16 array.
void convert_elements(const std::byte* from, DType from_dtype, int64_t count, DType dtype,
                      void* out);

}  // namespace diffulex::cpu
