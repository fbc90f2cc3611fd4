// Int8Kernels on AVX512_VNNI. Compiled for that instruction set function by function and used only
// where the processor has it.
#include "backend/cpu/int8_kernels.h"
#include "backend/cpu/isa.h"

#if defined(__x86_64__) && defined(__GNUC__)
#define DIFFULEX_AVX512_VNNI 1
#include <immintrin.h>

#include <algorithm>
#include <cstring>
#endif

namespace diffulex::cpu {

#if DIFFULEX_AVX512_VNNI

#define DIFFULEX_TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")))
#define DIFFULEX_TARGET_INLINE DIFFULEX_TARGET __attribute__((always_inline)) inline

namespace {

constexpr int kRows = kInt8RowStep;
constexpr int kLanes = 16;
constexpr int kVectors = kInt8Panel / kLanes;
constexpr int kUnroll = kInt8DepthStep / 4;
constexpr int64_t kLine = 64;

// Lines that one block brings near while it computes.
struct Ahead {
  const uint8_t* from;
  int64_t per_step;  // lines per kInt8DepthStep; 0: nothing
};

// kRows rows with one panel: sixteen sums in registers, which hide the instruction's latency.
DIFFULEX_TARGET_INLINE void sum_block(const int8_t* x, size_t stride, const uint8_t* w,
                                      int64_t depth, Ahead ahead, __m512i (&sum)[kRows][kVectors]) {
  for (int64_t k = 0; k < depth; k += kInt8DepthStep) {
    for (int64_t i = 0; i < ahead.per_step; ++i, ahead.from += kLine)
      _mm_prefetch(reinterpret_cast<const char*>(ahead.from), _MM_HINT_T1);
#pragma GCC unroll 4
    for (int u = 0; u < kUnroll; ++u, w += kVectors * kLine) {
      __m512i columns[kVectors];
#pragma GCC unroll 2
      for (int j = 0; j < kVectors; ++j) columns[j] = _mm512_loadu_si512(w + j * kLine);
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) {
        int32_t four;
        std::memcpy(&four, x + static_cast<size_t>(r) * stride + k + u * 4, sizeof four);
        const __m512i row = _mm512_set1_epi32(four);
#pragma GCC unroll 2
        for (int j = 0; j < kVectors; ++j)
          sum[r][j] = _mm512_dpbusd_epi32(sum[r][j], columns[j], row);
      }
    }
  }
}

// columns: of the panel that exist.
DIFFULEX_TARGET_INLINE void block(const Int8Product& p, int64_t first, int64_t panel,
                                  int64_t columns, Ahead ahead) {
  const std::byte* const rows = p.x + static_cast<size_t>(first) * p.x_stride;
  Int8RowHead heads[kRows];
  __m512i sum[kRows][kVectors];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
    std::memcpy(&heads[r], rows + static_cast<size_t>(r) * p.x_stride, sizeof heads[r]);
#pragma GCC unroll 2
    for (int j = 0; j < kVectors; ++j) sum[r][j] = _mm512_set1_epi32(-heads[r].offset);
  }
  sum_block(reinterpret_cast<const int8_t*>(rows + kInt8Head), p.x_stride,
            p.weights + panel * p.depth, p.depth, ahead, sum);
#pragma GCC unroll 2
  for (int j = 0; j < kVectors; ++j) {
    const int64_t there = std::clamp<int64_t>(columns - j * kLanes, 0, kLanes);
    const auto mask = static_cast<__mmask16>((1u << there) - 1);
    const __m512 scales = _mm512_loadu_ps(p.scales + panel + j * kLanes);
    float* y = p.y + first * p.width + panel + j * kLanes;
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r, y += p.width) {
      const __m512 old = p.accumulate ? _mm512_maskz_loadu_ps(mask, y) : _mm512_setzero_ps();
      const __m512 scale = _mm512_mul_ps(_mm512_set1_ps(heads[r].scale), scales);
      _mm512_mask_storeu_ps(y, mask, _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum[r][j]), scale, old));
    }
  }
}

// A panel is used for all rows before the next one, whose lines come in evenly meanwhile.
DIFFULEX_TARGET void multiply(const Int8Product& p) {
  const int64_t bytes = kInt8Panel * p.depth, lines = bytes / kLine,
                steps = p.rows / kRows * (p.depth / kInt8DepthStep);
  const int64_t per_step = (lines + steps - 1) / steps;
  const int64_t per_block = per_step * (p.depth / kInt8DepthStep) * kLine;
  for (int64_t panel = 0; panel < p.width; panel += kInt8Panel) {
    const uint8_t* const next =
        panel + kInt8Panel < p.width ? p.weights + panel * p.depth + bytes : p.next;
    int64_t at = 0;
    for (int64_t first = 0; first < p.rows; first += kRows, at += per_block)
      block(p, first, panel, p.width - panel,
            next != nullptr && at < bytes ? Ahead{next + at, per_step} : Ahead{nullptr, 0});
  }
}

const Int8Kernels kKernels{"avx512_vnni", multiply};

}  // namespace

const Int8Kernels* avx512_vnni_int8() { return has_avx512_vnni() ? &kKernels : nullptr; }

#else

const Int8Kernels* avx512_vnni_int8() { return nullptr; }

#endif

}  // namespace diffulex::cpu
