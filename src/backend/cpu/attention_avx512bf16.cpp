// AttentionKernels on AVX512_BF16: Highway 1.0 has no bf16 dot product, and it halves the time of
// deep caches. Compiled for that instruction set function by function and used only where the
// processor has it.
#include "backend/cpu/attention_kernels.h"
#include "backend/cpu/isa.h"

#if defined(__x86_64__) && defined(__GNUC__)
#define DIFFULEX_AVX512_BF16 1
#include <immintrin.h>

#include <cstring>
#endif

namespace diffulex::cpu {

#if DIFFULEX_AVX512_BF16

#define DIFFULEX_TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")))
#define DIFFULEX_TARGET_INLINE DIFFULEX_TARGET __attribute__((always_inline)) inline

namespace {

constexpr int kLanes = 16;
constexpr int kPairs = kKeyTile / 2;  // pairs of keys of a tile

// c[R, C * 16] = (kScaled ? c * scale[row] : 0) + a . b, where a [R, depth] and b [depth, ldb] hold
// pairs of bf16 along the dimension that is summed over. The order of sums does not depend on R and
// C.
template <int R, int C, bool kScaled>
DIFFULEX_TARGET_INLINE void product_block(const uint32_t* a, int64_t lda, const uint32_t* b,
                                          int64_t ldb, int depth, float* c, int64_t ldc,
                                          const float* scale) {
  __m512 sum[R][C];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
    for (int j = 0; j < C; ++j)
      sum[r][j] = kScaled ? _mm512_mul_ps(_mm512_loadu_ps(c + r * ldc + j * kLanes),
                                          _mm512_set1_ps(scale[r]))
                          : _mm512_setzero_ps();
  for (int k = 0; k < depth; ++k) {
    __m512i row[C];
#pragma GCC unroll 8
    for (int j = 0; j < C; ++j) row[j] = _mm512_loadu_si512(b + k * ldb + j * kLanes);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const __m512i x = _mm512_set1_epi32(static_cast<int>(a[r * lda + k]));
#pragma GCC unroll 8
      for (int j = 0; j < C; ++j)
        sum[r][j] = _mm512_dpbf16_ps(sum[r][j], (__m512bh)x, (__m512bh)row[j]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
    for (int j = 0; j < C; ++j) _mm512_storeu_ps(c + r * ldc + j * kLanes, sum[r][j]);
}

template <int R, bool kScaled>
DIFFULEX_TARGET void product_rows(const uint32_t* a, int64_t lda, const uint32_t* b, int64_t ldb,
                                  int depth, int columns, float* c, int64_t ldc,
                                  const float* scale) {
  int n = 0;
  for (; n + 4 * kLanes <= columns; n += 4 * kLanes)
    product_block<R, 4, kScaled>(a, lda, b + n, ldb, depth, c + n, ldc, scale);
  for (; n < columns; n += kLanes)
    product_block<R, 1, kScaled>(a, lda, b + n, ldb, depth, c + n, ldc, scale);
}

template <bool kScaled>
DIFFULEX_TARGET void product(const uint32_t* a, int64_t lda, const uint32_t* b, int64_t ldb,
                             int rows, int depth, int columns, float* c, int64_t ldc,
                             const float* scale) {
  int r = 0;
  for (; r + 6 <= rows; r += 6)
    product_rows<6, kScaled>(a + r * lda, lda, b, ldb, depth, columns, c + r * ldc, ldc, scale + r);
  for (; r + 4 <= rows; r += 4)
    product_rows<4, kScaled>(a + r * lda, lda, b, ldb, depth, columns, c + r * ldc, ldc, scale + r);
  for (; r < rows; ++r)
    product_rows<1, kScaled>(a + r * lda, lda, b, ldb, depth, columns, c + r * ldc, ldc, scale + r);
}

// to[16, stride] = transpose of 16 rows of 16 words each.
DIFFULEX_TARGET_INLINE void transpose16(const __m512i* x, uint32_t* to, int64_t stride) {
  __m512i a[16], b[16];
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) {
    a[2 * i] = _mm512_unpacklo_epi32(x[2 * i], x[2 * i + 1]);
    a[2 * i + 1] = _mm512_unpackhi_epi32(x[2 * i], x[2 * i + 1]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    b[4 * i] = _mm512_unpacklo_epi64(a[4 * i], a[4 * i + 2]);
    b[4 * i + 1] = _mm512_unpackhi_epi64(a[4 * i], a[4 * i + 2]);
    b[4 * i + 2] = _mm512_unpacklo_epi64(a[4 * i + 1], a[4 * i + 3]);
    b[4 * i + 3] = _mm512_unpackhi_epi64(a[4 * i + 1], a[4 * i + 3]);
  }
  // b[4 g + i]: rows 4g .. 4g+3 of columns i, 4 + i, 8 + i, 12 + i
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    const __m512i lo01 = _mm512_shuffle_i32x4(b[i], b[4 + i], 0x88),
                  hi01 = _mm512_shuffle_i32x4(b[i], b[4 + i], 0xDD);
    const __m512i lo23 = _mm512_shuffle_i32x4(b[8 + i], b[12 + i], 0x88),
                  hi23 = _mm512_shuffle_i32x4(b[8 + i], b[12 + i], 0xDD);
    _mm512_storeu_si512(to + i * stride, _mm512_shuffle_i32x4(lo01, lo23, 0x88));
    _mm512_storeu_si512(to + (4 + i) * stride, _mm512_shuffle_i32x4(hi01, hi23, 0x88));
    _mm512_storeu_si512(to + (8 + i) * stride, _mm512_shuffle_i32x4(lo01, lo23, 0xDD));
    _mm512_storeu_si512(to + (12 + i) * stride, _mm512_shuffle_i32x4(hi01, hi23, 0xDD));
  }
}

// tile [dim / 2, kKeyTile] pairs of neighbouring elements of a key. Rows are bf16: this kernel is
// for bf16 caches only.
DIFFULEX_TARGET void pack_keys(const void* const* rows, DType, int dim, void* tile) {
  uint32_t* const out = static_cast<uint32_t*>(tile);
  for (int j = 0; j < kKeyTile; j += 16)
    for (int k = 0; k < dim / 2; k += 16) {
      const int left = dim / 2 - k;
      const __mmask16 mask = left >= 16 ? 0xFFFF : static_cast<__mmask16>((1u << left) - 1);
      __m512i x[16];
#pragma GCC unroll 16
      for (int i = 0; i < 16; ++i)
        x[i] = rows[j + i] == nullptr
                   ? _mm512_setzero_si512()
                   : _mm512_maskz_loadu_epi32(mask, static_cast<const uint32_t*>(rows[j + i]) + k);
      transpose16(x, out + k * kKeyTile + j, kKeyTile);
    }
}

// tile [kPairs, padded dim] pairs of one element of two neighbouring values.
DIFFULEX_TARGET void pack_values(const void* const* rows, DType, int dim, void* tile) {
  alignas(64) static constexpr uint16_t kInterleave[32] = {
      0, 32, 1, 33, 2,  34, 3,  35, 4,  36, 5,  37, 6,  38, 7,  39,
      8, 40, 9, 41, 10, 42, 11, 43, 12, 44, 13, 45, 14, 46, 15, 47};
  const __m512i order = _mm512_load_si512(kInterleave);
  const int stride = padded_dim(dim);
  uint32_t* const out = static_cast<uint32_t*>(tile);
  for (int j = 0; j < kPairs; ++j) {
    const uint16_t* const even = static_cast<const uint16_t*>(rows[2 * j]);
    const uint16_t* const odd = static_cast<const uint16_t*>(rows[2 * j + 1]);
    for (int i = 0; i < dim; i += 16) {
      const __mmask16 mask = dim - i >= 16 ? 0xFFFF : static_cast<__mmask16>((1u << (dim - i)) - 1);
      const __m256i a =
          even == nullptr ? _mm256_setzero_si256() : _mm256_maskz_loadu_epi16(mask, even + i);
      const __m256i b =
          odd == nullptr ? _mm256_setzero_si256() : _mm256_maskz_loadu_epi16(mask, odd + i);
      _mm512_storeu_si512(
          out + j * stride + i,
          _mm512_permutex2var_epi16(_mm512_castsi256_si512(a), order, _mm512_castsi256_si512(b)));
    }
  }
}

DIFFULEX_TARGET void score(const void* queries, const void* keys, int vectors, int dim,
                           float* scores) {
  product<false>(static_cast<const uint32_t*>(queries), dim / 2, static_cast<const uint32_t*>(keys),
                 kKeyTile, vectors, dim / 2, kKeyTile, scores, kKeyTile, scores);
}

DIFFULEX_TARGET void accumulate(const void* weights, const void* values, const float* decay,
                                int vectors, int dim, float* out) {
  const int stride = padded_dim(dim);
  product<true>(static_cast<const uint32_t*>(weights), kPairs, static_cast<const uint32_t*>(values),
                stride, vectors, kPairs, stride, out, stride, decay);
}

// 2^x, relative error below 3e-7, 0 from -126 downwards (-inf included); x <= 0.
DIFFULEX_TARGET_INLINE __m512 exp2(__m512 x) {
  const __mmask16 live = _mm512_cmp_ps_mask(x, _mm512_set1_ps(-126.0f), _CMP_GE_OQ);
  const __m512 whole = _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  const __m512 f = _mm512_sub_ps(x, whole);
  __m512 p = _mm512_set1_ps(1.5403530393e-4f);
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(1.3333558146e-3f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(9.6181291076e-3f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(5.5504108665e-2f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(2.4022650696e-1f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(6.9314718056e-1f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(1.0f));
  return _mm512_maskz_scalef_ps(live, p, whole);
}

DIFFULEX_TARGET void soften(float* scores, const uint64_t* visible, int rows, int group,
                            float scale2, void* weights, float* max, float* sum, float* decay) {
  const __m512 scale = _mm512_set1_ps(scale2), hidden = _mm512_set1_ps(-__builtin_inff());
  for (int v = 0; v < rows * group; ++v) {
    const float* const s = scores + v * kKeyTile;
    uint16_t* const w = static_cast<uint16_t*>(weights) + v * kKeyTile;
    const uint64_t bits = visible[v / group];
    if (bits == 0) {
      std::memset(w, 0, kKeyTile * sizeof(uint16_t));
      decay[v] = 1.0f;
      continue;
    }
    __m512 x[4];
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j)
      x[j] = _mm512_mask_loadu_ps(hidden, static_cast<__mmask16>(bits >> (16 * j)), s + 16 * j);
    const __m512 top = _mm512_max_ps(_mm512_max_ps(x[0], x[1]), _mm512_max_ps(x[2], x[3]));
    const float tile_max = _mm512_reduce_max_ps(top) * scale2;
    const float next = max[v] > tile_max ? max[v] : tile_max;
    const __m512 shift = _mm512_set1_ps(next);
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) x[j] = exp2(_mm512_fmsub_ps(x[j], scale, shift));
#pragma GCC unroll 2
    for (int j = 0; j < 2; ++j)
      _mm512_storeu_si512(w + 32 * j, (__m512i)_mm512_cvtne2ps_pbh(x[2 * j + 1], x[2 * j]));
    const float fade = _mm512_cvtss_f32(exp2(_mm512_set1_ps(max[v] - next)));
    decay[v] = fade;
    sum[v] = sum[v] * fade + _mm512_reduce_add_ps(_mm512_add_ps(_mm512_add_ps(x[0], x[1]),
                                                                _mm512_add_ps(x[2], x[3])));
    max[v] = next;
  }
}

constexpr AttentionKernels kKernels{"avx512_bf16", DType::kBF16, pack_keys, pack_values,
                                    score,         soften,       accumulate};

}  // namespace

const AttentionKernels* bf16_attention() { return has_avx512_bf16() ? &kKernels : nullptr; }

#else

const AttentionKernels* bf16_attention() { return nullptr; }

#endif

}  // namespace diffulex::cpu
