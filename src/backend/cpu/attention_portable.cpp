// AttentionKernels in f32 on Highway vectors.
#include <algorithm>
#include <cstring>

#include "backend/cpu/attention_kernels.h"

// The register blocks are arrays of vectors, which vectors of unknown size cannot be.
#define HWY_DISABLED_TARGETS (HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/attention_portable.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "backend/cpu/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace diffulex::cpu {
namespace HWY_NAMESPACE {

using F = hn::CappedTag<float, 16>;
using V = hn::VFromD<F>;
inline constexpr int kLanes = static_cast<int>(hn::MaxLanes(F()));
inline constexpr int kRegisterColumns = kLanes >= 16 ? 4 : 2;  // vectors; x 6 rows = accumulators
inline constexpr int kRegisterRows = 6;

// c[R, C * kLanes] = (scale ? c * scale[row] : 0) + a[R, depth] * b[depth, C * kLanes]. One
// multiply-add per element and depth in ascending order, whatever R and C are.
template <int R, int C, bool kScaled>
HWY_INLINE void product_block(const float* HWY_RESTRICT a, int64_t lda, const float* HWY_RESTRICT b,
                              int64_t ldb, int depth, float* HWY_RESTRICT c, int64_t ldc,
                              const float* scale) {
  const F d;
  V sum[R][C];
  for (int r = 0; r < R; ++r)
    for (int j = 0; j < C; ++j) {
      if constexpr (kScaled)
        sum[r][j] = hn::Mul(hn::LoadU(d, c + r * ldc + j * kLanes), hn::Set(d, scale[r]));
      else
        sum[r][j] = hn::Zero(d);
    }
  for (int k = 0; k < depth; ++k) {
    V row[C];
    for (int j = 0; j < C; ++j) row[j] = hn::LoadU(d, b + k * ldb + j * kLanes);
    for (int r = 0; r < R; ++r) {
      const V x = hn::Set(d, a[r * lda + k]);
      for (int j = 0; j < C; ++j) sum[r][j] = hn::MulAdd(x, row[j], sum[r][j]);
    }
  }
  for (int r = 0; r < R; ++r)
    for (int j = 0; j < C; ++j) hn::StoreU(sum[r][j], d, c + r * ldc + j * kLanes);
}

template <int R, bool kScaled>
HWY_INLINE void product_rows(const float* a, int64_t lda, const float* b, int64_t ldb, int depth,
                             int columns, float* c, int64_t ldc, const float* scale) {
  int n = 0;
  for (; n + kRegisterColumns * kLanes <= columns; n += kRegisterColumns * kLanes)
    product_block<R, kRegisterColumns, kScaled>(a, lda, b + n, ldb, depth, c + n, ldc, scale);
  for (; n < columns; n += kLanes)
    product_block<R, 1, kScaled>(a, lda, b + n, ldb, depth, c + n, ldc, scale);
}

// c[rows, columns] as above; columns is a multiple of 16.
template <bool kScaled>
void product(const float* a, int64_t lda, const float* b, int64_t ldb, int rows, int depth,
             int columns, float* c, int64_t ldc, const float* scale) {
  int r = 0;
  for (; r + kRegisterRows <= rows; r += kRegisterRows)
    product_rows<kRegisterRows, kScaled>(a + r * lda, lda, b, ldb, depth, columns, c + r * ldc, ldc,
                                         kScaled ? scale + r : nullptr);
  for (; r + 4 <= rows; r += 4)
    product_rows<4, kScaled>(a + r * lda, lda, b, ldb, depth, columns, c + r * ldc, ldc,
                             kScaled ? scale + r : nullptr);
  for (; r < rows; ++r)
    product_rows<1, kScaled>(a + r * lda, lda, b, ldb, depth, columns, c + r * ldc, ldc,
                             kScaled ? scale + r : nullptr);
}

HWY_INLINE void widen(const void* row, DType dtype, int dim, float* out) {
  if (row == nullptr) {
    std::fill_n(out, dim, 0.0f);
  } else if (dtype == DType::kF32) {
    std::memcpy(out, row, static_cast<size_t>(dim) * sizeof(float));
  } else {
    const uint16_t* const x = static_cast<const uint16_t*>(row);
    for_lanes(dim,
              [&](auto d, int64_t i) HWY_ATTR { hn::StoreU(load_bf16(d, x + i), d, out + i); });
  }
}

// tile[dim, kKeyTile]
void pack_keys(const void* const* rows, int keys, DType dtype, int dim, float* out) {
#if HWY_TARGET != HWY_SCALAR
  const hn::Full128<float> d4;
  const hn::Full128<double> d2;
#endif
  HWY_ALIGN float lines[4][kMaxHeadDim];
  for (int j = 0; j < keys; j += 4) {
    for (int i = 0; i < 4; ++i) widen(rows[j + i], dtype, dim, lines[i]);
#if HWY_TARGET != HWY_SCALAR
    for (int k = 0; k < dim; k += 4) {  // 4 x 4 transposed
      const auto a = hn::Load(d4, lines[0] + k), b = hn::Load(d4, lines[1] + k);
      const auto c = hn::Load(d4, lines[2] + k), e = hn::Load(d4, lines[3] + k);
      const auto ab0 = hn::BitCast(d2, hn::InterleaveLower(d4, a, b)),
                 ab1 = hn::BitCast(d2, hn::InterleaveUpper(d4, a, b));
      const auto ce0 = hn::BitCast(d2, hn::InterleaveLower(d4, c, e)),
                 ce1 = hn::BitCast(d2, hn::InterleaveUpper(d4, c, e));
      float* const to = out + k * kKeyTile + j;
      hn::StoreU(hn::BitCast(d4, hn::InterleaveLower(d2, ab0, ce0)), d4, to);
      hn::StoreU(hn::BitCast(d4, hn::InterleaveUpper(d2, ab0, ce0)), d4, to + kKeyTile);
      hn::StoreU(hn::BitCast(d4, hn::InterleaveLower(d2, ab1, ce1)), d4, to + 2 * kKeyTile);
      hn::StoreU(hn::BitCast(d4, hn::InterleaveUpper(d2, ab1, ce1)), d4, to + 3 * kKeyTile);
    }
#else
    for (int k = 0; k < dim; ++k)
      for (int i = 0; i < 4; ++i) out[k * kKeyTile + j + i] = lines[i][k];
#endif
  }
}

// tile[kKeyTile, padded dim]
void pack_values(const void* const* rows, int keys, DType dtype, int dim, float* out) {
  const int stride = padded_dim(dim);
  for (int j = 0; j < keys; ++j) {
    widen(rows[j], dtype, dim, out + j * stride);
    std::fill(out + j * stride + dim, out + (j + 1) * stride, 0.0f);
  }
}

// The online softmax of all vectors over the tile's scores.
void soften(const AttentionTile& t) {
  const F d;
  for (int v = 0; v < t.rows * t.group; ++v) {
    float* const s = t.scores + v * kKeyTile;
    float* const w = static_cast<float*>(t.weights) + v * kKeyTile;
    const uint64_t bits = t.visible[v / t.group];
    if (bits == 0) {
      std::fill_n(w, t.keys, 0.0f);
      t.decay[v] = 1.0f;
      continue;
    }
    if (bits != ~uint64_t{0})
      for (int j = 0; j < kKeyTile; ++j)
        if ((bits >> j & 1) == 0) s[j] = -HUGE_VALF;
    V top = hn::LoadU(d, s);
    for (int j = kLanes; j < kKeyTile; j += kLanes) top = hn::Max(top, hn::LoadU(d, s + j));
    const float next = std::max(t.max[v], hn::GetLane(hn::MaxOfLanes(d, top)) * t.scale2);
    const V scale = hn::Set(d, t.scale2), shift = hn::Set(d, next);
    V total = hn::Zero(d);
    for (int j = 0; j < kKeyTile; j += kLanes) {
      const V e = exp2(d, hn::MulSub(hn::LoadU(d, s + j), scale, shift));
      hn::StoreU(e, d, w + j);
      total = hn::Add(total, e);
    }
    const float fade = hn::GetLane(exp2(d, hn::Set(d, t.max[v] - next)));
    t.decay[v] = fade;
    t.sum[v] = t.sum[v] * fade + hn::GetLane(hn::SumOfLanes(d, total));
    t.max[v] = next;
  }
}

void add_tile_simd(const AttentionTile& t) {
  float* const keys = static_cast<float*>(t.packed_keys);
  float* const values = static_cast<float*>(t.packed_values);
  const int vectors = t.rows * t.group, stride = padded_dim(t.dim);
  pack_keys(t.key_rows, t.keys, t.kv_dtype, t.dim, keys);
  product<false>(static_cast<const float*>(t.queries), t.dim, keys, kKeyTile, vectors, t.dim,
                 t.keys, t.scores, kKeyTile, nullptr);
  soften(t);
  pack_values(t.value_rows, t.keys, t.kv_dtype, t.dim, values);
  product<true>(static_cast<const float*>(t.weights), kKeyTile, values, stride, vectors, t.keys,
                stride, t.out, stride, t.decay);
}

}  // namespace HWY_NAMESPACE
}  // namespace diffulex::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace diffulex::cpu {

HWY_EXPORT(add_tile_simd);

const AttentionKernels& portable_attention() {
  static constexpr AttentionKernels kernels{"f32", DType::kF32, [](const AttentionTile& tile) {
                                              HWY_DYNAMIC_DISPATCH(add_tile_simd)(tile);
                                            }};
  return kernels;
}

}  // namespace diffulex::cpu
#endif
