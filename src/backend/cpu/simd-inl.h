// Vector helpers shared by the kernel files; included once per instruction set (see Highway's
// foreach_target.h).
#if defined(DIFFULEX_CPU_SIMD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef DIFFULEX_CPU_SIMD_INL_H_
#undef DIFFULEX_CPU_SIMD_INL_H_
#else
#define DIFFULEX_CPU_SIMD_INL_H_
#endif

#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace diffulex::cpu {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// 2^x, relative error below 3e-7; 0 for x < -126 (-inf included), at most 2^127.99.
template <class D, class V = hn::VFromD<D>>
HWY_INLINE V exp2(D d, V x) {
  const hn::RebindToSigned<D> di;
  const V clamped = hn::Min(hn::Max(x, hn::Set(d, -126.0f)), hn::Set(d, 127.99f));
  const V whole = hn::Round(clamped);
  const V f = hn::Sub(clamped, whole);  // [-0.5, 0.5]
  // Taylor series of exp(f ln 2); the first left-out term is below 5e-9.
  V p = hn::Set(d, 1.5252733804e-5f);
  p = hn::MulAdd(p, f, hn::Set(d, 1.5403530393e-4f));
  p = hn::MulAdd(p, f, hn::Set(d, 1.3333558146e-3f));
  p = hn::MulAdd(p, f, hn::Set(d, 9.6181291076e-3f));
  p = hn::MulAdd(p, f, hn::Set(d, 5.5504108665e-2f));
  p = hn::MulAdd(p, f, hn::Set(d, 2.4022650696e-1f));
  p = hn::MulAdd(p, f, hn::Set(d, 6.9314718056e-1f));
  p = hn::MulAdd(p, f, hn::Set(d, 1.0f));
  const auto exponent = hn::ShiftLeft<23>(hn::ConvertTo(di, whole));
  const V scaled = hn::BitCast(d, hn::Add(hn::BitCast(di, p), exponent));
  return hn::IfThenElseZero(hn::Ge(x, hn::Set(d, -126.0f)), scaled);
}

inline constexpr float kLog2E = 1.44269504088896340736f;

// Stores x as bf16, rounded to nearest even; NaN stays NaN.
template <class D>
HWY_INLINE void store_bf16([[maybe_unused]] D d, hn::VFromD<D> x, uint16_t* to) {
  const hn::RebindToUnsigned<D> du;
  const hn::Rebind<uint16_t, D> du16;
  const auto bits = hn::BitCast(du, x);
  const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(du, 1u));
  const auto rounded = hn::Add(bits, hn::Add(odd, hn::Set(du, 0x7FFFu)));
  const auto nan = hn::RebindMask(du, hn::IsNaN(x));
  const auto kept = hn::IfThenElse(nan, hn::Or(bits, hn::Set(du, 0x400000u)), rounded);
  const hn::Rebind<int32_t, D> di;
  hn::StoreU(hn::DemoteTo(du16, hn::BitCast(di, hn::ShiftRight<16>(kept))), du16, to);
}

template <class D>
HWY_INLINE hn::VFromD<D> load_bf16(D d, const uint16_t* from) {
  const hn::RebindToUnsigned<D> du;
  const hn::Rebind<uint16_t, D> du16;
  return hn::BitCast(d, hn::ShiftLeft<16>(hn::PromoteTo(du, hn::LoadU(du16, from))));
}

// Calls body(tag, i) over [0, n): whole vectors first, then single lanes, so that nothing is read
// behind the end.
template <class Body>
HWY_INLINE void for_lanes(int64_t n, Body&& body) {
  const hn::ScalableTag<float> d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) body(d, i);
  const hn::CappedTag<float, 4> d4;
  const int64_t lanes4 = static_cast<int64_t>(hn::Lanes(d4));
  for (; i + lanes4 <= n; i += lanes4) body(d4, i);
  const hn::CappedTag<float, 1> d1;
  for (; i < n; ++i) body(d1, i);
}

}  // namespace HWY_NAMESPACE
}  // namespace diffulex::cpu
HWY_AFTER_NAMESPACE();

#endif
