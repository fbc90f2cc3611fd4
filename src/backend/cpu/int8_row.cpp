#include "backend/cpu/int8_row.h"

#include <cfloat>
#include <cmath>
#include <cstring>
#include <limits>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/int8_row.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "backend/cpu/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace diffulex::cpu {
namespace HWY_NAMESPACE {

template <class D>
HWY_INLINE hn::VFromD<D> load(D d, const float* x) {
  return hn::LoadU(d, x);
}
template <class D>
HWY_INLINE hn::VFromD<D> load(D d, const uint16_t* x) {
  return load_bf16(d, x);
}

// As bits, magnitudes order like integers, with infinity and NaN above all others.
template <class T>
HWY_INLINE float max_magnitude_of(const T* x, int64_t n) {
  using D = hn::ScalableTag<float>;
  const hn::RebindToSigned<D> di;
  auto most = hn::Zero(di);
  int64_t i = 0;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(D()));
  for (; i + lanes <= n; i += lanes)
    most = hn::Max(most, hn::BitCast(di, hn::Abs(load(D(), x + i))));
  int32_t bits = hn::GetLane(hn::MaxOfLanes(di, most));
  const hn::CappedTag<float, 1> d1;
  for (; i < n; ++i) {
    const float magnitude = hn::GetLane(hn::Abs(load(d1, x + i)));
    int32_t other;
    std::memcpy(&other, &magnitude, sizeof other);
    bits = bits > other ? bits : other;
  }
  float f;
  std::memcpy(&f, &bits, sizeof f);
  return f;
}

template <class T>
HWY_INLINE int32_t quantise_of(const T* x, int64_t n, float inverse, int8_t* out) {
  using D = hn::ScalableTag<float>;
  auto sums = hn::Zero(hn::RebindToSigned<D>());
  int32_t rest = 0;
  const auto step = [&](auto d, int64_t i) HWY_ATTR {
    const auto q = hn::NearestInt(hn::Mul(load(d, x + i), hn::Set(d, inverse)));
    const hn::Rebind<int8_t, decltype(d)> d8;
    hn::StoreU(hn::DemoteTo(d8, q), d8, out + i);
    return q;
  };
  int64_t i = 0;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(D()));
  for (; i + lanes <= n; i += lanes) sums = hn::Add(sums, step(D(), i));
  for (; i < n; ++i) rest += hn::GetLane(step(hn::CappedTag<float, 1>(), i));
  return rest + hn::GetLane(hn::SumOfLanes(hn::RebindToSigned<D>(), sums));
}

template <class T>
HWY_INLINE void quantise_row_of(const T* x, int64_t n, std::byte* row) {
  const Int8Scale s = int8_scale(max_magnitude_of(x, n));
  int8_t* const q = reinterpret_cast<int8_t*>(row + kInt8Head);
  Int8RowHead head{s.scale, 0};
  if (s.inverse == 0)
    std::memset(q, 0, static_cast<size_t>(n));  // a NaN has no integer
  else
    head.offset = kInt8Shift * quantise_of(x, n, s.inverse, q);
  std::memset(q + n, 0, static_cast<size_t>(round_up(n, kInt8Pad) - n));
  std::memcpy(row, &head, sizeof head);
}

float max_magnitude_simd(const float* x, int64_t n) { return max_magnitude_of(x, n); }
int32_t quantise_simd(const float* x, int64_t n, float inverse, int8_t* out) {
  return quantise_of(x, n, inverse, out);
}
void quantise_row_f32(const float* x, int64_t n, std::byte* row) { quantise_row_of(x, n, row); }
void quantise_row_bf16(const uint16_t* x, int64_t n, std::byte* row) { quantise_row_of(x, n, row); }

}  // namespace HWY_NAMESPACE
}  // namespace diffulex::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace diffulex::cpu {

HWY_EXPORT(max_magnitude_simd);
HWY_EXPORT(quantise_simd);
HWY_EXPORT(quantise_row_f32);
HWY_EXPORT(quantise_row_bf16);

Int8Scale int8_scale(float most) {
  constexpr float kLeast = 0x1p-100f;
  if (!(most <= FLT_MAX)) return {std::numeric_limits<float>::quiet_NaN(), 0};
  if (most < kLeast) return {0, 0};
  return {most / 127, 127 / most};
}

float max_magnitude(const float* x, int64_t n) {
  return HWY_DYNAMIC_DISPATCH(max_magnitude_simd)(x, n);
}
int32_t quantise(const float* x, int64_t n, float inverse, int8_t* out) {
  return HWY_DYNAMIC_DISPATCH(quantise_simd)(x, n, inverse, out);
}
void quantise_row(const float* x, int64_t n, std::byte* row) {
  HWY_DYNAMIC_DISPATCH(quantise_row_f32)(x, n, row);
}
void quantise_row(const uint16_t* x, int64_t n, std::byte* row) {
  HWY_DYNAMIC_DISPATCH(quantise_row_bf16)(x, n, row);
}

}  // namespace diffulex::cpu
#endif
