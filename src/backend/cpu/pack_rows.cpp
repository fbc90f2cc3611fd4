#include "backend/cpu/pack_rows.h"

#include <algorithm>
#include <cstring>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/pack_rows.cpp"
#include <hwy/cache_control.h>
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "backend/cpu/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace diffulex::cpu {
namespace HWY_NAMESPACE {

// Vectors of at most 16 units: one cache line.
constexpr size_t kMaxLanes = 16;
using Units = hn::CappedTag<uint32_t, kMaxLanes>;

// A square of units, as many as a vector has lanes each way; row i begins at from + i * stride. Its
// column i goes to out + places[i].
#if HWY_TARGET == HWY_SCALAR || HWY_HAVE_SCALABLE

HWY_INLINE void transpose_square(Units d, const std::byte* from, size_t stride,
                                 const uint32_t* places, bool /*aligned*/, uint32_t* out) {
  for (size_t i = 0; i < hn::Lanes(d); ++i)
    for (size_t j = 0; j < hn::Lanes(d); ++j)
      std::memcpy(out + places[i] + j, from + j * stride + i * 4, 4);
}

#else

using UnitVector = hn::VFromD<Units>;

// Four rows of units to four columns, within each 128-bit block.
HWY_INLINE void transpose_in_blocks(Units d, UnitVector* v) {
  const hn::Repartition<uint64_t, Units> d64;
  const auto wide = [&](UnitVector x) HWY_ATTR { return hn::BitCast(d64, x); };
  const auto a = wide(hn::InterleaveLower(d, v[0], v[1])),
             b = wide(hn::InterleaveLower(d, v[2], v[3])),
             e = wide(hn::InterleaveUpper(d, v[0], v[1])),
             f = wide(hn::InterleaveUpper(d, v[2], v[3]));
  v[0] = hn::BitCast(d, hn::InterleaveLower(d64, a, b));
  v[1] = hn::BitCast(d, hn::InterleaveUpper(d64, a, b));
  v[2] = hn::BitCast(d, hn::InterleaveLower(d64, e, f));
  v[3] = hn::BitCast(d, hn::InterleaveUpper(d64, e, f));
}

HWY_INLINE void store_line(Units d, UnitVector v, bool aligned, uint32_t* to) {
  if (aligned)
    hn::Stream(v, d, to);  // nobody reads it before the model is complete
  else
    hn::StoreU(v, d, to);
}

HWY_INLINE void transpose_square(Units d, const std::byte* from, size_t stride,
                                 const uint32_t* places, bool aligned, uint32_t* out) {
  constexpr size_t kLanes = hn::MaxLanes(Units()), kGroups = kLanes / 4;
  UnitVector v[kLanes];
  for (size_t i = 0; i < kLanes; ++i)
    v[i] = hn::LoadU(d, reinterpret_cast<const uint32_t*>(from + i * stride));
  for (size_t g = 0; g < kGroups; ++g) transpose_in_blocks(d, v + 4 * g);
  // Now block b of v[4g + c] has rows 4g.. of column 4b + c.
  for (size_t c = 0; c < 4; ++c) {
    const auto put = [&](size_t b, UnitVector column)
                         HWY_ATTR { store_line(d, column, aligned, out + places[4 * b + c]); };
    if constexpr (kGroups == 1) {
      put(0, v[c]);
    } else if constexpr (kGroups == 2) {
      put(0, hn::ConcatLowerLower(d, v[4 + c], v[c]));
      put(1, hn::ConcatUpperUpper(d, v[4 + c], v[c]));
    } else {
      const auto even = [&](UnitVector x, UnitVector y) HWY_ATTR {  // x0 y0 x2 y2
        return hn::OddEvenBlocks(hn::SwapAdjacentBlocks(y), x);
      };
      const auto odd = [&](UnitVector x, UnitVector y) HWY_ATTR {  // x1 y1 x3 y3
        return hn::OddEvenBlocks(y, hn::SwapAdjacentBlocks(x));
      };
      const auto p = even(v[c], v[4 + c]), q = odd(v[c], v[4 + c]), r = even(v[8 + c], v[12 + c]),
                 s = odd(v[8 + c], v[12 + c]);
      put(0, hn::ConcatLowerLower(d, r, p));
      put(1, hn::ConcatLowerLower(d, s, q));
      put(2, hn::ConcatUpperUpper(d, r, p));
      put(3, hn::ConcatUpperUpper(d, s, q));
    }
  }
}

#endif

// `rows` rows of units from `from`; by_n and by_k say where they go.
void scatter_units_simd(const std::byte* from, size_t stride, int64_t rows, int64_t units,
                        const uint32_t* by_n, const uint32_t* by_k, uint32_t* out) {
  const Units d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  const auto one_by_one = [&](int64_t n, int64_t count, int64_t k) {
    for (; k < units; ++k)
      for (int64_t i = n; i < n + count; ++i)
        std::memcpy(out + by_n[i] + by_k[k], from + static_cast<size_t>(i) * stride + k * 4, 4);
  };
  int64_t n = 0;
  while (n < rows) {
    int64_t run = 1;  // rows that lie side by side
    while (run < lanes && n + run < rows && by_n[n + run] == by_n[n] + run) ++run;
    int64_t k = 0;
    if (run == lanes) {
      uint32_t* const side = out + by_n[n];
      const uintptr_t line = static_cast<uintptr_t>(lanes) * 4;
      for (; k + lanes <= units; k += lanes) {
        uintptr_t places = 0;
        for (int64_t i = 0; i < lanes; ++i) places |= uintptr_t{by_k[k + i]} * 4;
        const bool aligned = (reinterpret_cast<uintptr_t>(side) | places) % line == 0;
        transpose_square(d, from + static_cast<size_t>(n) * stride + k * 4, stride, by_k + k,
                         aligned, side);
      }
    }
    one_by_one(n, run, k);
    n += run;
  }
}

void convert_simd(const std::byte* from, DType from_dtype, int64_t count, uint16_t* bf16,
                  float* f32) {
  const hn::CappedTag<float, kMaxLanes> d;
  const hn::Rebind<hwy::float16_t, decltype(d)> half;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  const auto step = [&](const std::byte* in, uint16_t* to_bf16, float* to_f32) HWY_ATTR {
    auto x = hn::Zero(d);
    if (from_dtype == DType::kF32)
      x = hn::LoadU(d, reinterpret_cast<const float*>(in));
    else if (from_dtype == DType::kBF16)
      x = load_bf16(d, reinterpret_cast<const uint16_t*>(in));
    else
      x = hn::PromoteTo(d, hn::LoadU(half, reinterpret_cast<const hwy::float16_t*>(in)));
    if (to_bf16 != nullptr)
      store_bf16(d, x, to_bf16);
    else
      hn::StoreU(x, d, to_f32);
  };
  const size_t size = size_of(from_dtype);
  int64_t i = 0;
  for (; i + lanes <= count; i += lanes)
    step(from + static_cast<size_t>(i) * size, bf16 != nullptr ? bf16 + i : nullptr,
         f32 != nullptr ? f32 + i : nullptr);
  if (i == count) return;
  const auto left = static_cast<size_t>(count - i);  // as a whole vector, from and to the stack
  alignas(64) std::byte in[kMaxLanes * sizeof(float)] = {};
  alignas(64) std::byte out[kMaxLanes * sizeof(float)];
  std::memcpy(in, from + static_cast<size_t>(i) * size, left * size);
  step(in, bf16 != nullptr ? reinterpret_cast<uint16_t*>(out) : nullptr,
       f32 != nullptr ? reinterpret_cast<float*>(out) : nullptr);
  if (bf16 != nullptr)
    std::memcpy(bf16 + i, out, left * sizeof(uint16_t));
  else
    std::memcpy(f32 + i, out, left * sizeof(float));
}

}  // namespace HWY_NAMESPACE
}  // namespace diffulex::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace diffulex::cpu {

HWY_EXPORT(scatter_units_simd);
HWY_EXPORT(convert_simd);

namespace {

// Converted rows wait here, in the caches; as many at once as the widest vector has units.
constexpr int64_t kStageRows = 16;
constexpr int64_t kStageCols = 512;  // an even number

void scatter_elements(const std::byte* rows, size_t stride, int64_t count, int64_t first_col,
                      int64_t cols, const TileLayout& layout, DType dtype, int64_t n,
                      std::byte* tile) {
  const size_t size = size_of(dtype);
  for (int64_t i = 0; i < count; ++i)
    for (int64_t k = 0; k < cols; ++k) {
      const size_t to = size_t{layout.by_n[static_cast<size_t>(n + i)]} +
                        layout.by_k[static_cast<size_t>(first_col + k)];
      std::memcpy(tile + to * size,
                  rows + static_cast<size_t>(i) * stride + static_cast<size_t>(k) * size, size);
    }
}

// Rows that have the tile's type already.
void scatter(const std::byte* rows, size_t stride, int64_t count, int64_t first_col, int64_t cols,
             const TileLayout& layout, DType dtype, int64_t n, std::byte* tile) {
  const int64_t per_unit = 4 / static_cast<int64_t>(size_of(dtype));
  if (layout.unit_by_k.empty()) {
    scatter_elements(rows, stride, count, first_col, cols, layout, dtype, n, tile);
    return;
  }
  HWY_DYNAMIC_DISPATCH(scatter_units_simd)
  (rows, stride, count, cols / per_unit, layout.unit_by_n.data() + n,
   layout.unit_by_k.data() + first_col / per_unit, reinterpret_cast<uint32_t*>(tile));
}

}  // namespace

void TileLayout::find_units(DType dtype) {
  const size_t per_unit = 4 / size_of(dtype);
  const auto in_units = [&](const std::vector<uint32_t>& offsets, size_t step) {
    std::vector<uint32_t> units;
    for (size_t i = 0; i < offsets.size(); i += step) {
      if (offsets[i] % per_unit != 0) return std::vector<uint32_t>();
      units.push_back(static_cast<uint32_t>(offsets[i] / per_unit));
    }
    return units;
  };
  if (by_k.size() % per_unit != 0) return;
  for (size_t k = 0; k < by_k.size(); k += per_unit)
    for (size_t i = 1; i < per_unit; ++i)
      if (by_k[k + i] != by_k[k] + i) return;
  unit_by_n = in_units(by_n, 1);
  unit_by_k = in_units(by_k, per_unit);
  if (unit_by_n.empty() || unit_by_k.empty()) {
    unit_by_n.clear();
    unit_by_k.clear();
  }
}

void convert_elements(const std::byte* from, DType from_dtype, int64_t count, DType dtype,
                      void* out) {
  if (from_dtype == dtype) {
    std::memcpy(out, from, static_cast<size_t>(count) * size_of(dtype));
    return;
  }
  uint16_t* const bf16 = dtype == DType::kBF16 ? static_cast<uint16_t*>(out) : nullptr;
  float* const f32 = dtype == DType::kF32 ? static_cast<float*>(out) : nullptr;
  HWY_DYNAMIC_DISPATCH(convert_simd)(from, from_dtype, count, bf16, f32);
}

void pack_rows(const SourceRows& source, const TileLayout& layout, DType dtype, int64_t n,
               std::byte* tile) {
  const size_t row = source.row_bytes();
  if (source.dtype == dtype) {
    scatter(source.data, row, source.count, 0, source.cols, layout, dtype, n, tile);
  } else {
    alignas(64) std::byte stage[kStageRows * kStageCols * sizeof(float)];
    const size_t stride = kStageCols * size_of(dtype);
    for (int64_t i = 0; i < source.count; i += kStageRows)
      for (int64_t k = 0; k < source.cols; k += kStageCols) {
        const int64_t rows = std::min(kStageRows, source.count - i),
                      cols = std::min(kStageCols, source.cols - k);
        for (int64_t r = 0; r < rows; ++r)
          convert_elements(source.data + static_cast<size_t>(i + r) * row +
                               static_cast<size_t>(k) * size_of(source.dtype),
                           source.dtype, cols, dtype, stage + static_cast<size_t>(r) * stride);
        scatter(stage, stride, rows, k, cols, layout, dtype, n + i, tile);
      }
  }
  hwy::FlushStream();
}

}  // namespace diffulex::cpu
#endif  // HWY_ONCE
