// A weight matrix cut into column tiles, each in the layout that oneDNN's matrix product reads
// fastest, or in panels of int8 with a scale per output feature.
#pragma once

#include <cstdint>
#include <dnnl.hpp>
#include <span>
#include <vector>

#include "backend/cpu/buffer.h"
#include "backend/cpu/pack_rows.h"
#include "base/dtype.h"
#include "model/weights.h"

namespace diffulex::cpu {

// Rows [begin, begin + count) of a checkpoint matrix.
struct WeightRows {
  const WeightView* view;
  int64_t begin;
  int64_t count;
};

// The weight [rows, cols] of y = x * transpose(W). Tile t holds the weight's rows, that is the
// output features, [t * tile, t * tile + width(t)). The width is fixed by the shape alone, never by
// the number of threads, so that results do not depend on it. Thread class: written while it is
// packed (one member per tile), immutable after.
class PackedMatrix {
 public:
  PackedMatrix() = default;
  PackedMatrix(const dnnl::engine& engine, DType dtype, int64_t rows, int64_t cols, int64_t tile);

  int64_t rows() const { return rows_; }
  int64_t cols() const { return cols_; }
  int64_t tile() const { return tile_; }
  int64_t tiles() const { return ceil_div(rows_, tile_); }
  int64_t width(int64_t t) const { return t + 1 < tiles() ? tile_ : rows_ - t * tile_; }
  bool is_last(int64_t t) const { return t + 1 == tiles(); }
  DType dtype() const { return dtype_; }
  size_t bytes() const { return data_.bytes() + scales_.bytes(); }

  // Of a matrix that oneDNN multiplies.
  const dnnl::memory& memory(int64_t t) const { return memory_[static_cast<size_t>(t)]; }
  const dnnl::memory::desc& desc(bool last) const { return layout_[last].desc; }

  // Of an int8 matrix: see Int8Kernels.
  const uint8_t* panels(int64_t t) const {
    return data_.as<uint8_t>() + tile_bytes_ * static_cast<size_t>(t);
  }
  const float* scales(int64_t t) const { return scales_.as<float>() + t * tile_scales_; }

  // Fills tile t from the rows that `sources` lists in order, and gives the file's pages back that
  // held them. Tiles may be packed concurrently. An int8 matrix quantises each row by its largest
  // magnitude; a row that is not finite gets a scale of NaN.
  void pack_tile(int64_t t, std::span<const WeightRows> sources);
  // Elements [row, first .. first + count) as f32, for tied embeddings; not of an int8 matrix.
  void read_row(int64_t row, int64_t first, int64_t count, float* out) const;

 private:
  struct Layout : TileLayout {
    dnnl::memory::desc desc;
  };
  static Layout make_layout(const dnnl::engine& engine, DType dtype, int64_t width, int64_t cols);
  void make_panels();
  void quantise_row(const WeightView& view, int64_t from, int64_t t, int64_t n);

  DType dtype_ = DType::kF32;
  int64_t rows_ = 0, cols_ = 0, tile_ = 1;
  size_t tile_bytes_ = 0;
  int64_t tile_scales_ = 0;
  Layout layout_[2];  // of all tiles but the last, of the last
  Buffer data_;
  Buffer scales_;                     // [tiles, tile_scales_] f32 of an int8 matrix
  std::vector<dnnl::memory> memory_;  // one per tile
};

// Bytes of such a matrix without making it (layout padding left out, scales of int8 included).
uint64_t packed_bytes(DType dtype, int64_t rows, int64_t cols);

// Conversion of checkpoint elements.
float to_float(const std::byte* data, DType dtype, int64_t index);
void to_floats(const std::byte* data, DType dtype, int64_t first, int64_t count, float* out);
uint16_t to_bf16(float x);  // round to nearest even
inline float from_bf16(uint16_t x) {
  const uint32_t bits = uint32_t{x} << 16;
  float f;
  __builtin_memcpy(&f, &bits, sizeof f);
  return f;
}

}  // namespace diffulex::cpu
