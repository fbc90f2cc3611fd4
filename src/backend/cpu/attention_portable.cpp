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
void pack_keys_simd(const void* const* rows, DType dtype, int dim, void* tile) {
#if HWY_TARGET != HWY_SCALAR
  const hn::Full128<float> d4;
  const hn::Full128<double> d2;
#endif
  float* const out = static_cast<float*>(tile);
  HWY_ALIGN float lines[4][kMaxHeadDim];
  for (int j = 0; j < kKeyTile; j += 4) {
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
void pack_values_simd(const void* const* rows, DType dtype, int dim, void* tile) {
  const int stride = padded_dim(dim);
  float* const out = static_cast<float*>(tile);
  for (int j = 0; j < kKeyTile; ++j) {
    widen(rows[j], dtype, dim, out + j * stride);
    std::fill(out + j * stride + dim, out + (j + 1) * stride, 0.0f);
  }
}

void score_simd(const void* queries, const void* keys, int vectors, int dim, float* scores) {
  product<false>(static_cast<const float*>(queries), dim, static_cast<const float*>(keys), kKeyTile,
                 vectors, dim, kKeyTile, scores, kKeyTile, nullptr);
}

void accumulate_simd(const void* weights, const void* values, const float* decay, int vectors,
                     int dim, float* out) {
  const int stride = padded_dim(dim);
  product<true>(static_cast<const float*>(weights), kKeyTile, static_cast<const float*>(values),
                stride, vectors, kKeyTile, stride, out, stride, decay);
}

void soften_simd(float* scores, const uint64_t* visible, int rows, int group, float scale2,
                 void* weights, float* max, float* sum, float* decay) {
  const F d;
  for (int v = 0; v < rows * group; ++v) {
    float* const s = scores + v * kKeyTile;
    float* const w = static_cast<float*>(weights) + v * kKeyTile;
    const uint64_t bits = visible[v / group];
    if (bits == 0) {
      std::fill_n(w, kKeyTile, 0.0f);
      decay[v] = 1.0f;
      continue;
    }
    if (bits != ~uint64_t{0})
      for (int j = 0; j < kKeyTile; ++j)
        if ((bits >> j & 1) == 0) s[j] = -HUGE_VALF;
    V top = hn::LoadU(d, s);
    for (int j = kLanes; j < kKeyTile; j += kLanes) top = hn::Max(top, hn::LoadU(d, s + j));
    const float next = std::max(max[v], hn::GetLane(hn::MaxOfLanes(d, top)) * scale2);
    const V scale = hn::Set(d, scale2), shift = hn::Set(d, next);
    V total = hn::Zero(d);
    for (int j = 0; j < kKeyTile; j += kLanes) {
      const V e = exp2(d, hn::MulSub(hn::LoadU(d, s + j), scale, shift));
      hn::StoreU(e, d, w + j);
      total = hn::Add(total, e);
    }
    const float fade = hn::GetLane(exp2(d, hn::Set(d, max[v] - next)));
    decay[v] = fade;
    sum[v] = sum[v] * fade + hn::GetLane(hn::SumOfLanes(d, total));
    max[v] = next;
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace diffulex::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace diffulex::cpu {

HWY_EXPORT(pack_keys_simd);
HWY_EXPORT(pack_values_simd);
HWY_EXPORT(score_simd);
HWY_EXPORT(soften_simd);
HWY_EXPORT(accumulate_simd);

const AttentionKernels& portable_attention() {
  static const AttentionKernels kernels{
      "f32",
      DType::kF32,
      [](const void* const* rows, DType dtype, int dim, void* tile) {
        HWY_DYNAMIC_DISPATCH(pack_keys_simd)(rows, dtype, dim, tile);
      },
      [](const void* const* rows, DType dtype, int dim, void* tile) {
        HWY_DYNAMIC_DISPATCH(pack_values_simd)(rows, dtype, dim, tile);
      },
      [](const void* queries, const void* keys, int vectors, int dim, float* scores) {
        HWY_DYNAMIC_DISPATCH(score_simd)(queries, keys, vectors, dim, scores);
      },
      [](float* scores, const uint64_t* visible, int rows, int group, float scale2, void* weights,
         float* max, float* sum, float* decay) {
        HWY_DYNAMIC_DISPATCH(soften_simd)
        (scores, visible, rows, group, scale2, weights, max, sum, decay);
      },
      [](const void* weights, const void* values, const float* decay, int vectors, int dim,
         float* out) {
        HWY_DYNAMIC_DISPATCH(accumulate_simd)(weights, values, decay, vectors, dim, out);
      }};
  return kernels;
}

}  // namespace diffulex::cpu
#endif
