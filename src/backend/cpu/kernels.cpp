#include "backend/cpu/kernels.h"

#include <algorithm>
#include <cmath>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/kernels.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "backend/cpu/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace diffulex::cpu {
namespace HWY_NAMESPACE {

template <class D>
HWY_INLINE void store(D d, hn::VFromD<D> x, const RowOut& out, int64_t i) {
  if (out.bf16 != nullptr)
    store_bf16(d, x, out.bf16 + i);
  else
    hn::StoreU(x, d, out.f32 + i);
}

HWY_INLINE float sum_of_squares(const float* x, int64_t n) {
  const hn::ScalableTag<float> d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  auto s0 = hn::Zero(d), s1 = hn::Zero(d);
  int64_t i = 0;
  for (; i + 2 * lanes <= n; i += 2 * lanes) {
    const auto a = hn::LoadU(d, x + i), b = hn::LoadU(d, x + i + lanes);
    s0 = hn::MulAdd(a, a, s0);
    s1 = hn::MulAdd(b, b, s1);
  }
  float sum = hn::GetLane(hn::SumOfLanes(d, hn::Add(s0, s1)));
  for (; i < n; ++i) sum += x[i] * x[i];
  return sum;
}

void norm_row_simd(const TiledRows& x, int64_t row, const float* bias, const float* weight,
                   float eps, RowOut out) {
  float sum = 0;
  for (int64_t n = 0; n < x.cols; n += x.tile) {
    float* const part = x.at(row, n);
    if (bias != nullptr)
      for_lanes(x.width(n), [&](auto d, int64_t i) HWY_ATTR {
        hn::StoreU(hn::Add(hn::LoadU(d, part + i), hn::LoadU(d, bias + n + i)), d, part + i);
      });
    sum += sum_of_squares(part, x.width(n));
  }
  const float scale = 1.0f / std::sqrt(sum / static_cast<float>(x.cols) + eps);
  for (int64_t n = 0; n < x.cols; n += x.tile) {
    const float* const part = x.at(row, n);
    for_lanes(x.width(n), [&](auto d, int64_t i) HWY_ATTR {
      const auto y = hn::Mul(hn::LoadU(d, part + i), hn::Set(d, scale));
      store(d, hn::Mul(y, hn::LoadU(d, weight + n + i)), out, n + i);
    });
  }
}

void rotate_head_simd(const float* x, const float* bias, const float* weight, float eps,
                      const float* angles, int dim, RowOut out) {
  HWY_ALIGN float y[512];
  const float* from = x;
  if (bias != nullptr) {
    for_lanes(dim, [&](auto d, int64_t i) HWY_ATTR {
      hn::StoreU(hn::Add(hn::LoadU(d, x + i), hn::LoadU(d, bias + i)), d, y + i);
    });
    from = y;
  }
  if (weight != nullptr) {
    const float scale = 1.0f / std::sqrt(sum_of_squares(from, dim) / static_cast<float>(dim) + eps);
    for_lanes(dim, [&](auto d, int64_t i) HWY_ATTR {
      const auto v = hn::Mul(hn::LoadU(d, from + i), hn::Set(d, scale));
      hn::StoreU(hn::Mul(v, hn::LoadU(d, weight + i)), d, y + i);
    });
    from = y;
  }
  if (angles == nullptr) {
    for_lanes(dim, [&](auto d, int64_t i) HWY_ATTR { store(d, hn::LoadU(d, from + i), out, i); });
    return;
  }
  const int half = dim / 2;
  for_lanes(half, [&](auto d, int64_t i) HWY_ATTR {
    const auto a = hn::LoadU(d, from + i), b = hn::LoadU(d, from + half + i);
    const auto cosine = hn::LoadU(d, angles + i), sine = hn::LoadU(d, angles + half + i);
    store(d, hn::NegMulAdd(b, sine, hn::Mul(a, cosine)), out, i);
    store(d, hn::MulAdd(a, sine, hn::Mul(b, cosine)), out, half + i);
  });
}

void swiglu_row_simd(const float* gate, const float* up, int64_t n, RowOut out) {
  for_lanes(n, [&](auto d, int64_t i) HWY_ATTR {
    const auto g = hn::LoadU(d, gate + i);
    const auto e = exp2(d, hn::Mul(g, hn::Set(d, -kLog2E)));
    const auto silu = hn::Div(g, hn::Add(hn::Set(d, 1.0f), e));
    store(d, hn::Mul(silu, hn::LoadU(d, up + i)), out, i);
  });
}

void add_row_simd(const float* bias, int64_t n, float* x) {
  for_lanes(n, [&](auto d, int64_t i) HWY_ATTR {
    hn::StoreU(hn::Add(hn::LoadU(d, x + i), hn::LoadU(d, bias + i)), d, x + i);
  });
}

void scale_row_simd(const float* x, float scale, int64_t n, RowOut out) {
  for_lanes(n, [&](auto d, int64_t i)
                   HWY_ATTR { store(d, hn::Mul(hn::LoadU(d, x + i), hn::Set(d, scale)), out, i); });
}

void widen_row_simd(const uint16_t* x, int64_t n, float* out) {
  for_lanes(n, [&](auto d, int64_t i) HWY_ATTR { hn::StoreU(load_bf16(d, x + i), d, out + i); });
}

const char* kernel_target_simd() { return hwy::TargetName(HWY_TARGET); }

}  // namespace HWY_NAMESPACE
}  // namespace diffulex::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace diffulex::cpu {

HWY_EXPORT(norm_row_simd);
HWY_EXPORT(rotate_head_simd);
HWY_EXPORT(swiglu_row_simd);
HWY_EXPORT(add_row_simd);
HWY_EXPORT(scale_row_simd);
HWY_EXPORT(widen_row_simd);
HWY_EXPORT(kernel_target_simd);

void norm_row(const TiledRows& x, int64_t row, const float* bias, const float* weight, float eps,
              RowOut out) {
  HWY_DYNAMIC_DISPATCH(norm_row_simd)(x, row, bias, weight, eps, out);
}
void rotate_head(const float* x, const float* bias, const float* weight, float eps,
                 const float* angles, int dim, RowOut out) {
  HWY_DYNAMIC_DISPATCH(rotate_head_simd)(x, bias, weight, eps, angles, dim, out);
}
void swiglu_row(const float* gate, const float* up, int64_t n, RowOut out) {
  HWY_DYNAMIC_DISPATCH(swiglu_row_simd)(gate, up, n, out);
}
void add_row(const float* bias, int64_t n, float* x) {
  HWY_DYNAMIC_DISPATCH(add_row_simd)(bias, n, x);
}
void scale_row(const float* x, float scale, int64_t n, RowOut out) {
  HWY_DYNAMIC_DISPATCH(scale_row_simd)(x, scale, n, out);
}
void widen_row(const uint16_t* x, int64_t n, float* out) {
  HWY_DYNAMIC_DISPATCH(widen_row_simd)(x, n, out);
}
const char* kernel_target() { return HWY_DYNAMIC_DISPATCH(kernel_target_simd)(); }

}  // namespace diffulex::cpu
#endif
