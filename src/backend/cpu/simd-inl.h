// Loads and stores of bf16 as f32 vectors, for every Highway target. Included inside a target's namespace guard.
#if defined(DIFFULEX_CPU_SIMD_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef DIFFULEX_CPU_SIMD_INL_H
#undef DIFFULEX_CPU_SIMD_INL_H
#else
#define DIFFULEX_CPU_SIMD_INL_H
#endif

#include <hwy/contrib/math/math-inl.h>
#include <hwy/highway.h>

#include "backend/cpu/convert.h"

HWY_BEFORE_NAMESPACE();
namespace diffulex::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using F = hn::ScalableTag<float>;
using VF = hn::Vec<F>;

HWY_INLINE VF load_bf16(F f, const uint16_t* from) {
  const hn::Rebind<uint16_t, F> u16;
  const hn::Rebind<uint32_t, F> u32;
  return hn::BitCast(f, hn::ShiftLeft<16>(hn::PromoteTo(u32, hn::LoadU(u16, from))));
}

// Rounds to nearest even; finite values only, which is what reaches storage.
HWY_INLINE void store_bf16(F f, VF v, uint16_t* to) {
  const hn::Rebind<uint16_t, F> u16;
  const hn::Rebind<uint32_t, F> u32;
  const auto bits = hn::BitCast(u32, v);
  const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(u32, 1));
  const auto rounded = hn::Add(hn::Add(bits, hn::Set(u32, 0x7fff)), odd);
  hn::StoreU(hn::TruncateTo(u16, hn::ShiftRight<16>(rounded)), u16, to);
  (void)f;
}

// Whole vectors go through `vector(i)`, the rest through `scalar(i)`.
template <class Vector, class Scalar>
HWY_INLINE void for_each(int n, const Vector& vector, const Scalar& scalar) {
  const auto lanes = static_cast<int>(hn::Lanes(F()));
  int i = 0;
  for (; i + lanes <= n; i += lanes) vector(i);
  for (; i < n; ++i) scalar(i);
}

}  // namespace diffulex::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
