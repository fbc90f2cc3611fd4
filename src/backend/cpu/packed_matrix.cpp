#include "backend/cpu/packed_matrix.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>

#include "backend/cpu/int8_kernels.h"
#include "backend/cpu/kernels.h"
#include "base/error.h"
#include "io/mapped_file.h"

namespace diffulex::cpu {

namespace {

using dnnl::memory;

memory::data_type element(DType dtype) {
  return dtype == DType::kBF16 ? memory::data_type::bf16 : memory::data_type::f32;
}

// The row count the layout is asked for; oneDNN's choice does not depend on it at this size.
constexpr int64_t kLayoutRows = 32;

float half_to_float(uint16_t h) {
  const uint32_t sign = uint32_t{h & 0x8000u} << 16;
  const uint32_t exponent = (h >> 10) & 31u;
  const uint32_t fraction = h & 1023u;
  float f;
  if (exponent == 0) {
    f = static_cast<float>(fraction) * (1.0f / 16777216.0f);
    return sign != 0 ? -f : f;
  }
  const uint32_t bits =
      sign | (exponent == 31 ? 0x7F800000u : (exponent + 112) << 23) | fraction << 13;
  std::memcpy(&f, &bits, sizeof f);
  return f;
}

SourceRows rows_of(const WeightView& view, int64_t first, int64_t count) {
  const SourceRows whole{view.data, view.dtype, view.cols, count};
  return {view.data + static_cast<size_t>(first) * whole.row_bytes(), view.dtype, view.cols, count};
}

size_t bytes_of(const SourceRows& rows) {
  return static_cast<size_t>(rows.count) * rows.row_bytes();
}

// One call to the system in place of a fault for every few pages.
void take_pages(const WeightView& view, const SourceRows& rows) {
  if (view.mapped) MappedFile::populate(rows.data, bytes_of(rows));
}

void give_pages_back(const WeightView& view, const SourceRows& rows) {
  if (view.mapped) MappedFile::release(rows.data, bytes_of(rows));
}

}  // namespace

uint16_t to_bf16(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  if ((bits & 0x7FFFFFFFu) > 0x7F800000u) return static_cast<uint16_t>(bits >> 16 | 0x40u);
  return static_cast<uint16_t>((bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16);
}

float to_float(const std::byte* data, DType dtype, int64_t index) {
  if (dtype == DType::kF32) {
    float f;
    std::memcpy(&f, data + index * 4, sizeof f);
    return f;
  }
  uint16_t h;
  std::memcpy(&h, data + index * 2, sizeof h);
  return dtype == DType::kBF16 ? from_bf16(h) : half_to_float(h);
}

void to_floats(const std::byte* data, DType dtype, int64_t first, int64_t count, float* out) {
  if (dtype == DType::kBF16) {
    widen_row(reinterpret_cast<const uint16_t*>(data) + first, count, out);
    return;
  }
  for (int64_t i = 0; i < count; ++i) out[i] = to_float(data, dtype, first + i);
}

uint64_t packed_bytes(DType dtype, int64_t rows, int64_t cols) {
  return static_cast<uint64_t>(rows) * static_cast<uint64_t>(cols) * size_of(dtype) +
         (dtype == DType::kI8 ? static_cast<uint64_t>(rows) * sizeof(float) : 0);
}

PackedMatrix::Layout PackedMatrix::make_layout(const dnnl::engine& engine, DType dtype,
                                               int64_t width, int64_t cols) {
  const memory::data_type type = element(dtype);
  const dnnl::matmul::desc wish(
      {{kLayoutRows, cols}, type, memory::dims{cols, 1}},
      {{cols, width}, type, memory::format_tag::any},
      {{kLayoutRows, width}, memory::data_type::f32, memory::dims{width, 1}});
  Layout layout;
  layout.desc = dnnl::matmul::primitive_desc(wish, engine).weights_desc();
  const dnnl_memory_desc_t& md = layout.desc.data;
  if (md.format_kind != dnnl_blocked || md.offset0 != 0 || md.extra.flags != 0)
    throw Error(DIFFULEX_E_UNSUPPORTED, "oneDNN chose a weight layout that cannot be packed");

  // A blocked layout's offset is a sum of one term per dimension (0: k, 1: n).
  const dnnl_blocking_desc_t& b = md.format_desc.blocking;
  for (int dim = 0; dim < 2; ++dim) {
    std::vector<uint32_t>& offsets = dim == 0 ? layout.by_k : layout.by_n;
    offsets.resize(static_cast<size_t>(dim == 0 ? cols : width));
    for (size_t i = 0; i < offsets.size(); ++i) {
      int64_t rest = static_cast<int64_t>(i), inner_stride = 1, offset = 0;
      for (int j = b.inner_nblks - 1; j >= 0; --j) {
        if (b.inner_idxs[j] == dim) {
          offset += rest % b.inner_blks[j] * inner_stride;
          rest /= b.inner_blks[j];
        }
        inner_stride *= b.inner_blks[j];
      }
      offsets[i] = static_cast<uint32_t>(offset + rest * b.strides[dim]);
    }
  }
  layout.find_units(dtype);
  return layout;
}

PackedMatrix::PackedMatrix(const dnnl::engine& engine, DType dtype, int64_t rows, int64_t cols,
                           int64_t tile)
    : dtype_(dtype), rows_(rows), cols_(cols), tile_(std::min(tile, rows)) {
  if (dtype_ == DType::kI8) {
    make_panels();
    return;
  }
  const int64_t count = tiles();
  layout_[0] = make_layout(engine, dtype, tile_, cols);
  layout_[1] = make_layout(engine, dtype, rows_ - (count - 1) * tile_, cols);
  tile_bytes_ = static_cast<size_t>(round_up(static_cast<int64_t>(layout_[0].desc.get_size()), 64));
  data_ = Buffer(tile_bytes_ * static_cast<size_t>(count - 1) + layout_[1].desc.get_size());
  for (int64_t t = 0; t < count; ++t)
    memory_.emplace_back(desc(t + 1 == count), engine,
                         data_.as() + tile_bytes_ * static_cast<size_t>(t));
}

void PackedMatrix::make_panels() {
  if (cols_ > kInt8MaxDepth)
    throw Error(DIFFULEX_E_UNSUPPORTED, "a matrix of " + std::to_string(cols_) +
                                            " columns is too deep for int8 sums in 32 bits");
  tile_scales_ = round_up(tile_, kInt8Panel);
  tile_bytes_ = static_cast<size_t>(tile_scales_ * int8_depth(cols_));
  const int64_t last = round_up(width(tiles() - 1), kInt8Panel);
  const auto whole = static_cast<size_t>(tiles() - 1);
  data_ = Buffer(tile_bytes_ * whole + static_cast<size_t>(last * int8_depth(cols_)));
  scales_ = Buffer((static_cast<size_t>(tile_scales_) * whole + static_cast<size_t>(last)) *
                   sizeof(float));
  scales_.zero();
}

void PackedMatrix::pack_tile(int64_t t, std::span<const WeightRows> sources) {
  std::byte* const out = data_.as() + tile_bytes_ * static_cast<size_t>(t);
  if (dtype_ == DType::kI8)  // the padding is zero
    std::memset(out, kInt8Shift,
                static_cast<size_t>(round_up(width(t), kInt8Panel) * int8_depth(cols_)));
  else if (const size_t size = desc(is_last(t)).get_size();
           size != packed_bytes(dtype_, width(t), cols_))
    std::memset(out, 0, size);
  int64_t first = 0;  // row of the matrix that the source begins at
  for (const WeightRows& source : sources) {
    const int64_t begin = std::max(first, t * tile_),
                  end = std::min(first + source.count, t * tile_ + width(t));
    if (begin < end) {
      const SourceRows rows = rows_of(*source.view, source.begin + begin - first, end - begin);
      take_pages(*source.view, rows);
      if (dtype_ == DType::kI8)
        for (int64_t n = begin; n < end; ++n)
          quantise_row(*source.view, (source.begin + n - first) * cols_, t, n - t * tile_);
      else
        pack_rows(rows, layout_[is_last(t)], dtype_, begin - t * tile_, out);
      give_pages_back(*source.view, rows);
    }
    first += source.count;
  }
}

// In pieces that stay on the stack: first for the largest magnitude, then for the elements.
void PackedMatrix::quantise_row(const WeightView& view, int64_t from, int64_t t, int64_t n) {
  constexpr int64_t kPiece = 512;  // a multiple of 4
  float x[kPiece];
  int8_t q[kPiece];
  float most = 0;
  for (int64_t k = 0; k < cols_; k += kPiece) {
    const int64_t count = std::min(kPiece, cols_ - k);
    to_floats(view.data, view.dtype, from + k, count, x);
    const float magnitude = max_magnitude(x, count);
    if (!(magnitude <= most)) most = magnitude;
    if (!std::isfinite(most)) break;
  }
  const Int8Scale s = int8_scale(most);
  scales_.as<float>()[t * tile_scales_ + n] = s.scale;
  if (s.inverse == 0) return;  // zeros are there already

  uint8_t* const panel = data_.as<uint8_t>() + tile_bytes_ * static_cast<size_t>(t) +
                         n / kInt8Panel * kInt8Panel * int8_depth(cols_) + n % kInt8Panel * 4;
  for (int64_t k = 0; k < cols_; k += kPiece) {
    const int64_t count = std::min(kPiece, cols_ - k);
    to_floats(view.data, view.dtype, from + k, count, x);
    quantise(x, count, s.inverse, q);
    std::fill(q + count, q + round_up(count, 4), int8_t{0});
    for (int64_t i = 0; i < count; i += 4) {
      uint32_t four;
      std::memcpy(&four, q + i, sizeof four);
      four ^= 0x80808080u;  // q + kInt8Shift
      std::memcpy(panel + (k + i) * kInt8Panel, &four, sizeof four);
    }
  }
}

void PackedMatrix::read_row(int64_t row, int64_t first, int64_t count, float* out) const {
  const int64_t t = row / tile_;
  const Layout& layout = layout_[is_last(t)];
  const std::byte* const tile = data_.as() + tile_bytes_ * static_cast<size_t>(t);
  const uint32_t n = layout.by_n[static_cast<size_t>(row - t * tile_)];
  for (int64_t k = 0; k < count; ++k)
    out[k] = to_float(tile, dtype_, n + layout.by_k[static_cast<size_t>(first + k)]);
}

}  // namespace diffulex::cpu
