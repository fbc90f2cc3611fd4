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
  for (; n + 2 * kLanes <= columns; n += 2 * kLanes)
    product_block<R, 2, kScaled>(a, lda, b + n, ldb, depth, c + n, ldc, scale);
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
DIFFULEX_TARGET void pack_keys(const void* const* rows, int keys, int dim, uint32_t* out) {
  for (int j = 0; j < keys; j += 16)
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
DIFFULEX_TARGET void pack_values(const void* const* rows, int keys, int dim, uint32_t* out) {
  alignas(64) static constexpr uint16_t kInterleave[32] = {
      0, 32, 1, 33, 2,  34, 3,  35, 4,  36, 5,  37, 6,  38, 7,  39,
      8, 40, 9, 41, 10, 42, 11, 43, 12, 44, 13, 45, 14, 46, 15, 47};
  const __m512i order = _mm512_load_si512(kInterleave);
  const int stride = padded_dim(dim);
  for (int j = 0; j < keys / 2; ++j) {
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

// 2^x for x <= 0, relative error below 3e-6 (the weights are rounded to bf16 next); 2^0 = 1, 2^-inf
// = 0.
DIFFULEX_TARGET_INLINE __m512 exp2(__m512 x) {
  const __m512 bounded = _mm512_max_ps(x, _mm512_set1_ps(-200.0f));
  const __m512 whole = _mm512_roundscale_ps(bounded, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  const __m512 f = _mm512_sub_ps(bounded, whole);
  __m512 p = _mm512_set1_ps(1.3333558146e-3f);
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(9.6181291076e-3f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(5.5504108665e-2f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(2.4022650696e-1f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(6.9314718056e-1f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(1.0f));
  return _mm512_scalef_ps(p, whole);
}

struct Max {
  DIFFULEX_TARGET_INLINE static __m512 of(__m512 a, __m512 b) { return _mm512_max_ps(a, b); }
};
struct Sum {
  DIFFULEX_TARGET_INLINE static __m512 of(__m512 a, __m512 b) { return _mm512_add_ps(a, b); }
};

// Lane i of the result joins the 16 lanes of x[i], in the same order for every i.
template <class Join>
DIFFULEX_TARGET_INLINE __m512 reduce16(const __m512* x) {
  __m512 a[8], b[4];
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i)
    a[i] = Join::of(_mm512_unpacklo_ps(x[2 * i], x[2 * i + 1]),
                    _mm512_unpackhi_ps(x[2 * i], x[2 * i + 1]));
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    const __m512d even = _mm512_castps_pd(a[2 * i]), odd = _mm512_castps_pd(a[2 * i + 1]);
    b[i] = Join::of(_mm512_castpd_ps(_mm512_unpacklo_pd(even, odd)),
                    _mm512_castpd_ps(_mm512_unpackhi_pd(even, odd)));
  }
  const __m512 c0 =
      Join::of(_mm512_shuffle_f32x4(b[0], b[1], 0x88), _mm512_shuffle_f32x4(b[0], b[1], 0xDD));
  const __m512 c1 =
      Join::of(_mm512_shuffle_f32x4(b[2], b[3], 0x88), _mm512_shuffle_f32x4(b[2], b[3], 0xDD));
  return Join::of(_mm512_shuffle_f32x4(c0, c1, 0x88), _mm512_shuffle_f32x4(c0, c1, 0xDD));
}

// The scores of one vector, -inf where hidden: x[kKeyTile / 16].
DIFFULEX_TARGET_INLINE void load_scores(const float* s, uint64_t bits, __m512* x) {
  const __m512 hidden = _mm512_set1_ps(-__builtin_inff());
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j)
    x[j] = _mm512_mask_loadu_ps(hidden, static_cast<__mmask16>(bits >> (16 * j)), s + 16 * j);
}

// The online softmax of the vectors [v0, v0 + n), n <= 16, together.
DIFFULEX_TARGET void soften16(const AttentionTile& t, int v0, int n) {
  const __m512 scale = _mm512_set1_ps(t.scale2);
  const __mmask16 real = static_cast<__mmask16>((1u << n) - 1);
  alignas(64) float next[16];
  uint64_t bits[16];
  __m512 partial[16], x[4];
  __mmask16 live = 0;  // vectors that see something of the tile
  for (int i = 0; i < 16; ++i) {
    bits[i] = i < n ? t.visible[(v0 + i) / t.group] : 0;
    if (bits[i] != 0) live = static_cast<__mmask16>(live | 1u << i);
    load_scores(t.scores + (v0 + (i < n ? i : 0)) * kKeyTile, bits[i], x);
    partial[i] = _mm512_max_ps(_mm512_max_ps(x[0], x[1]), _mm512_max_ps(x[2], x[3]));
  }
  const __m512 before = _mm512_mask_loadu_ps(_mm512_set1_ps(kNoMax), real, t.max + v0);
  const __m512 tile_max = _mm512_mul_ps(reduce16<Max>(partial), scale);
  const __m512 after = _mm512_mask_max_ps(before, live, before, tile_max);
  const __m512 decay = exp2(_mm512_sub_ps(before, after));
  _mm512_store_ps(next, after);
  _mm512_mask_storeu_ps(t.max + v0, real, after);
  _mm512_mask_storeu_ps(t.decay + v0, real, decay);

  for (int i = 0; i < 16; ++i) {
    if (i >= n) {
      partial[i] = _mm512_setzero_ps();
      continue;
    }
    const __m512 shift = _mm512_set1_ps(next[i]);
    load_scores(t.scores + (v0 + i) * kKeyTile, bits[i], x);
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) x[j] = exp2(_mm512_fmsub_ps(x[j], scale, shift));
    uint16_t* const w = static_cast<uint16_t*>(t.weights) + (v0 + i) * kKeyTile;
    _mm512_storeu_si512(w, (__m512i)_mm512_cvtne2ps_pbh(x[1], x[0]));
    _mm512_storeu_si512(w + 32, (__m512i)_mm512_cvtne2ps_pbh(x[3], x[2]));
    partial[i] = _mm512_add_ps(_mm512_add_ps(x[0], x[1]), _mm512_add_ps(x[2], x[3]));
  }
  const __m512 sum = _mm512_maskz_loadu_ps(real, t.sum + v0);
  _mm512_mask_storeu_ps(t.sum + v0, real, _mm512_fmadd_ps(sum, decay, reduce16<Sum>(partial)));
}

DIFFULEX_TARGET void add_tile(const AttentionTile& t) {
  uint32_t* const keys = static_cast<uint32_t*>(t.packed_keys);
  uint32_t* const values = static_cast<uint32_t*>(t.packed_values);
  const int vectors = t.rows * t.group, stride = padded_dim(t.dim);
  pack_keys(t.key_rows, t.keys, t.dim, keys);
  product<false>(static_cast<const uint32_t*>(t.queries), t.dim / 2, keys, kKeyTile, vectors,
                 t.dim / 2, t.keys, t.scores, kKeyTile, t.scores);
  for (int v = 0; v < vectors; v += 16) soften16(t, v, vectors - v < 16 ? vectors - v : 16);
  pack_values(t.value_rows, t.keys, t.dim, values);
  product<true>(static_cast<const uint32_t*>(t.weights), kPairs, values, stride, vectors,
                t.keys / 2, stride, t.out, stride, t.decay);
}

constexpr AttentionKernels kKernels{"avx512_bf16", DType::kBF16, add_tile};

}  // namespace

const AttentionKernels* bf16_attention() { return has_avx512_bf16() ? &kKernels : nullptr; }

#else

const AttentionKernels* bf16_attention() { return nullptr; }

#endif

}  // namespace diffulex::cpu
