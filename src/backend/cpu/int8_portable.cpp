// Int8Kernels on Highway vectors.
#include <algorithm>
#include <cstring>

#include "backend/cpu/int8_kernels.h"

// The register blocks are arrays of vectors, which vectors of unknown size cannot be.
#define HWY_DISABLED_TARGETS (HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/int8_portable.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "backend/cpu/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace diffulex::cpu {
namespace HWY_NAMESPACE {

inline constexpr int kBlockRows = 4;

#if HWY_TARGET == HWY_SCALAR

HWY_INLINE void sum_rows(const int8_t* x, size_t stride, const uint8_t* w, int64_t depth,
                         int32_t* out) {
  for (int64_t r = 0; r < kBlockRows; ++r)
    for (int64_t c = 0; c < kInt8Panel; ++c) {
      int32_t sum = 0;
      for (int64_t k = 0; k < depth; ++k)
        sum += int32_t{x[static_cast<size_t>(r) * stride + static_cast<size_t>(k)]} *
               w[k / 4 * 4 * kInt8Panel + c * 4 + k % 4];
      out[r * kInt8Panel + c] = sum;
    }
}

#else

using D16 = hn::CappedTag<int16_t, 32>;
using D32 = hn::Repartition<int32_t, D16>;
using V16 = hn::VFromD<D16>;
using V32 = hn::VFromD<D32>;

inline constexpr int kLanes = static_cast<int>(hn::MaxLanes(D16()));  // bytes of weights
inline constexpr int kLineBytes = 4 * static_cast<int>(kInt8Panel);   // four elements per column

// sum + a[2i] * b[2i] + a[2i + 1] * b[2i + 1]
HWY_INLINE V32 add_pairs(V32 sum, V16 a, V16 b) {
#if HWY_ARCH_X86 && HWY_TARGET != HWY_EMU128 && HWY_TARGET != HWY_SCALAR && HWY_MAX_BYTES == 64
  return hn::Add(sum, V32{_mm512_madd_epi16(a.raw, b.raw)});
#elif HWY_ARCH_X86 && HWY_TARGET != HWY_EMU128 && HWY_TARGET != HWY_SCALAR && HWY_MAX_BYTES == 32
  return hn::Add(sum, V32{_mm256_madd_epi16(a.raw, b.raw)});
#elif HWY_ARCH_X86 && HWY_TARGET != HWY_EMU128 && HWY_TARGET != HWY_SCALAR
  return hn::Add(sum, V32{_mm_madd_epi16(a.raw, b.raw)});
#else
  const V32 both = hn::BitCast(D32(), hn::Mul(a, b));  // 255 * 127 fits 16 bits
  const V32 odd = hn::ShiftRight<16>(both), even = hn::ShiftRight<16>(hn::ShiftLeft<16>(both));
  return hn::Add(sum, hn::Add(odd, even));
#endif
}

HWY_INLINE V16 load_weights(const uint8_t* w) {
  const hn::Rebind<uint8_t, D16> d8;
  return hn::PromoteTo(D16(), hn::LoadU(d8, w));
}

// Rows of activations widened to 16 bits, a piece of the depth at a time.
struct Piece {
  static constexpr int64_t kDepth = 512;
  HWY_ALIGN int16_t x[kBlockRows * kDepth];
  int64_t depth;

  HWY_INLINE void load(const int8_t* from, size_t stride, int64_t count) {
    const hn::Rebind<int8_t, D16> d8;
    depth = count;
    for (int r = 0; r < kBlockRows; ++r)  // elements are padded: reads stay inside of the row
      for (int64_t k = 0; k < count; k += static_cast<int64_t>(hn::Lanes(D16())))
        hn::Store(hn::PromoteTo(D16(), hn::LoadU(d8, from + static_cast<size_t>(r) * stride + k)),
                  D16(), x + r * kDepth + k);
  }
  HWY_INLINE V16 four(int r, int64_t k) const {  // repeated
    const hn::Repartition<int64_t, D16> d64;
    int64_t bits;
    std::memcpy(&bits, x + r * kDepth + k, sizeof bits);
    return hn::BitCast(D16(), hn::Set(d64, bits));
  }
};

// Every column has two lanes of sums.
HWY_INLINE void add_halves(V32 sum, int32_t* out) {
  HWY_ALIGN int32_t halves[kLanes / 2];
  hn::Store(sum, D32(), halves);
  for (int c = 0; c < kLanes / 4; ++c) out[c] += halves[2 * c] + halves[2 * c + 1];
}

// Adds sums with the columns of one vector of weights to out [kBlockRows, kInt8Panel].
HWY_INLINE void sum_block(const Piece& piece, const uint8_t* w, int32_t* out) {
  static_assert(kBlockRows == 4);
  V32 s0 = hn::Zero(D32()), s1 = s0, s2 = s0, s3 = s0;
  for (int64_t k = 0; k < piece.depth; k += 4, w += kLineBytes) {
    const V16 columns = load_weights(w);
    s0 = add_pairs(s0, columns, piece.four(0, k));
    s1 = add_pairs(s1, columns, piece.four(1, k));
    s2 = add_pairs(s2, columns, piece.four(2, k));
    s3 = add_pairs(s3, columns, piece.four(3, k));
  }
  add_halves(s0, out);
  add_halves(s1, out + kInt8Panel);
  add_halves(s2, out + 2 * kInt8Panel);
  add_halves(s3, out + 3 * kInt8Panel);
}

// Sums of kBlockRows rows with the columns of a panel; out: [kBlockRows, kInt8Panel]
HWY_INLINE void sum_rows(const int8_t* x, size_t stride, const uint8_t* w, int64_t depth,
                         int32_t* out) {
  Piece piece;
  std::fill(out, out + kBlockRows * kInt8Panel, 0);
  for (int64_t k = 0; k < depth; k += Piece::kDepth) {
    piece.load(x + k, stride, std::min(Piece::kDepth, depth - k));
    for (int at = 0; at < kLineBytes; at += kLanes)
      sum_block(piece, w + k * kInt8Panel + at, out + at / 4);
  }
}

#endif

HWY_INLINE void finish_row(const int32_t* sum, const Int8RowHead& head, const float* scales,
                           bool accumulate, int64_t columns, float* y) {
  for_lanes(columns, [&](auto d, int64_t i) HWY_ATTR {
    const hn::RebindToSigned<decltype(d)> di;
    const auto exact = hn::Sub(hn::LoadU(di, sum + i), hn::Set(di, head.offset));
    const auto scale = hn::Mul(hn::Set(d, head.scale), hn::LoadU(d, scales + i));
    const auto old = accumulate ? hn::LoadU(d, y + i) : hn::Zero(d);
    hn::StoreU(hn::MulAdd(hn::ConvertTo(d, exact), scale, old), d, y + i);
  });
}

void multiply_simd(const Int8Product& p) {
  HWY_ALIGN int32_t sums[kBlockRows * kInt8Panel];
  for (int64_t panel = 0; panel < p.width; panel += kInt8Panel) {
    const int64_t columns = std::min(kInt8Panel, p.width - panel);
    for (int64_t first = 0; first < p.rows; first += kBlockRows) {
      const std::byte* const rows = p.x + static_cast<size_t>(first) * p.x_stride;
      sum_rows(reinterpret_cast<const int8_t*>(rows + kInt8Head), p.x_stride,
               p.weights + panel * p.depth, p.depth, sums);
      for (int64_t r = 0; r < kBlockRows; ++r) {
        Int8RowHead head;
        std::memcpy(&head, rows + static_cast<size_t>(r) * p.x_stride, sizeof head);
        finish_row(sums + r * kInt8Panel, head, p.scales + panel, p.accumulate, columns,
                   p.y + (first + r) * p.width + panel);
      }
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace diffulex::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace diffulex::cpu {

HWY_EXPORT(multiply_simd);

namespace {

void multiply(const Int8Product& p) { HWY_DYNAMIC_DISPATCH(multiply_simd)(p); }
const Int8Kernels kKernels{"portable", multiply};

}  // namespace

const Int8Kernels& portable_int8() { return kKernels; }

}  // namespace diffulex::cpu
#endif
