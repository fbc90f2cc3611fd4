#include "backend/cpu/kernels.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/kernels.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <cmath>

#include "backend/cpu/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace diffulex::cpu::HWY_NAMESPACE {

float sum_of_squares(const float* x, int n) {
  const F f;
  VF sum = hn::Zero(f);
  float rest = 0;
  for_each(
      n, [&](int i) { const VF v = hn::LoadU(f, x + i); sum = hn::MulAdd(v, v, sum); }, [&](int i) { rest += x[i] * x[i]; });
  return hn::GetLane(hn::SumOfLanes(f, sum)) + rest;
}

void Store(const float* x, int n, void* out, DType type) {
  const F f;
  if (type == DType::kF32) {
    auto* to = static_cast<float*>(out);
    for_each(n, [&](int i) { hn::StoreU(hn::LoadU(f, x + i), f, to + i); }, [&](int i) { to[i] = x[i]; });
  } else {
    auto* to = static_cast<uint16_t*>(out);
    for_each(n, [&](int i) { store_bf16(f, hn::LoadU(f, x + i), to + i); }, [&](int i) { to[i] = to_bf16(x[i]); });
  }
}

void Load(const void* x, DType type, int n, float* out) {
  const F f;
  if (type == DType::kF32) {
    const auto* from = static_cast<const float*>(x);
    for_each(n, [&](int i) { hn::StoreU(hn::LoadU(f, from + i), f, out + i); }, [&](int i) { out[i] = from[i]; });
  } else {
    const auto* from = static_cast<const uint16_t*>(x);
    for_each(n, [&](int i) { hn::StoreU(load_bf16(f, from + i), f, out + i); }, [&](int i) { out[i] = from_bf16(from[i]); });
  }
}

void RmsNorm(const float* x, const float* weight, int n, float eps, void* out, DType type) {
  const F f;
  const float r = 1.0f / std::sqrt(sum_of_squares(x, n) / static_cast<float>(n) + eps);
  const VF scale = hn::Set(f, r);
  const auto value = [&](int i) { return hn::Mul(hn::Mul(hn::LoadU(f, x + i), scale), hn::LoadU(f, weight + i)); };
  if (type == DType::kF32) {
    auto* to = static_cast<float*>(out);
    for_each(n, [&](int i) { hn::StoreU(value(i), f, to + i); }, [&](int i) { to[i] = x[i] * r * weight[i]; });
  } else {
    auto* to = static_cast<uint16_t*>(out);
    for_each(n, [&](int i) { store_bf16(f, value(i), to + i); }, [&](int i) { to[i] = to_bf16(x[i] * r * weight[i]); });
  }
}

void NormRope(float* x, const float* weight, int n, float eps, const float* cos, const float* sin, float scale) {
  const F f;
  const int half = n / 2;
  const float r = weight != nullptr ? 1.0f / std::sqrt(sum_of_squares(x, n) / static_cast<float>(n) + eps) : 1.0f;
  const VF vr = hn::Set(f, r), vs = hn::Set(f, scale);
  float *a = x, *b = x + half;
  for_each(
      half,
      [&](int i) {
        VF p = hn::Mul(hn::LoadU(f, a + i), vr), q = hn::Mul(hn::LoadU(f, b + i), vr);
        if (weight != nullptr) {
          p = hn::Mul(p, hn::LoadU(f, weight + i));
          q = hn::Mul(q, hn::LoadU(f, weight + half + i));
        }
        const VF c = hn::LoadU(f, cos + i), s = hn::LoadU(f, sin + i);
        hn::StoreU(hn::Mul(hn::NegMulAdd(q, s, hn::Mul(p, c)), vs), f, a + i);
        hn::StoreU(hn::Mul(hn::MulAdd(p, s, hn::Mul(q, c)), vs), f, b + i);
      },
      [&](int i) {
        const float p = a[i] * r * (weight != nullptr ? weight[i] : 1.0f);
        const float q = b[i] * r * (weight != nullptr ? weight[half + i] : 1.0f);
        a[i] = (p * cos[i] - q * sin[i]) * scale;
        b[i] = (q * cos[i] + p * sin[i]) * scale;
      });
}

void SwiGlu(const float* gate, const float* up, int n, void* out, DType type) {
  const F f;
  const auto value = [&](int i) {
    const VF g = hn::LoadU(f, gate + i);
    const VF e = hn::Exp(f, hn::Neg(hn::Abs(g)));  // in (0, 1]: no overflow on either side
    const VF one = hn::Set(f, 1.0f);
    const VF sigmoid = hn::Div(hn::IfThenElse(hn::Lt(g, hn::Zero(f)), e, one), hn::Add(one, e));
    return hn::Mul(hn::Mul(g, sigmoid), hn::LoadU(f, up + i));
  };
  const auto scalar = [&](int i) { return gate[i] / (1.0f + std::exp(-gate[i])) * up[i]; };
  if (type == DType::kF32) {
    auto* to = static_cast<float*>(out);
    for_each(n, [&](int i) { hn::StoreU(value(i), f, to + i); }, [&](int i) { to[i] = scalar(i); });
  } else {
    auto* to = static_cast<uint16_t*>(out);
    for_each(n, [&](int i) { store_bf16(f, value(i), to + i); }, [&](int i) { to[i] = to_bf16(scalar(i)); });
  }
}

void AddBias(float* x, const float* bias, int n) {
  const F f;
  for_each(
      n, [&](int i) { hn::StoreU(hn::Add(hn::LoadU(f, x + i), hn::LoadU(f, bias + i)), f, x + i); },
      [&](int i) { x[i] += bias[i]; });
}

// Scales the logits, hides what is not finite, and finds the largest.
float CleanTile(float* l, int n, float scale) {
  const F f;
  const VF hidden = hn::Set(f, -INFINITY), vs = hn::Set(f, scale);
  VF top = hidden;
  float rest = -INFINITY;
  for_each(
      n,
      [&](int i) {
        const VF raw = hn::LoadU(f, l + i);
        const VF v = hn::IfThenElse(hn::IsFinite(raw), hn::Mul(raw, vs), hidden);
        hn::StoreU(v, f, l + i);
        top = hn::Max(top, v);
      },
      [&](int i) {
        l[i] = std::isfinite(l[i]) ? l[i] * scale : -INFINITY;
        rest = l[i] > rest ? l[i] : rest;
      });
  const float best = hn::GetLane(hn::MaxOfLanes(f, top));
  return best > rest ? best : rest;
}

decide::TilePartial ReduceTile(float* l, int n, int32_t first_id, float scale, bool entropy, float* exps) {
  const F f;
  const float top = CleanTile(l, n, scale);
  decide::TilePartial tile{top, -1, 0, 0, -1, 0};
  if (top == -INFINITY) return tile;
  for (int i = n; i-- > 0;)
    if (l[i] == top) {
      tile.argmax = first_id + i;
      break;
    }
  const VF vt = hn::Set(f, top), floor = hn::Set(f, -80.0f);
  VF sum = hn::Zero(f), weighted = hn::Zero(f);
  float rest = 0, rest_weighted = 0;
  for_each(
      n,
      [&](int i) {
        const VF below = hn::Sub(hn::LoadU(f, l + i), vt);
        const auto dead = hn::Lt(below, floor);  // exp would be 1e-35 and less
        const VF e = hn::IfThenZeroElse(dead, hn::Exp(f, hn::Max(below, floor)));
        sum = hn::Add(sum, e);
        if (entropy) weighted = hn::MulAdd(e, hn::Max(below, floor), weighted);
        if (exps != nullptr) hn::StoreU(e, f, exps + i);
      },
      [&](int i) {
        const float below = l[i] - top;
        const float e = below < -80.0f ? 0.0f : std::exp(below);
        rest += e;
        if (e > 0) rest_weighted += e * below;
        if (exps != nullptr) exps[i] = e;
      });
  tile.sum = hn::GetLane(hn::SumOfLanes(f, sum)) + rest;
  tile.weighted = entropy ? hn::GetLane(hn::SumOfLanes(f, weighted)) + rest_weighted : 0.0f;
  return tile;
}

const char* SimdName() { return hwy::TargetName(HWY_TARGET); }

}  // namespace diffulex::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace diffulex::cpu {

HWY_EXPORT(RmsNorm);
HWY_EXPORT(NormRope);
HWY_EXPORT(SwiGlu);
HWY_EXPORT(AddBias);
HWY_EXPORT(Store);
HWY_EXPORT(Load);
HWY_EXPORT(ReduceTile);
HWY_EXPORT(SimdName);

void rms_norm(const float* x, const float* weight, int n, float eps, void* out, DType out_type) {
  HWY_DYNAMIC_DISPATCH(RmsNorm)(x, weight, n, eps, out, out_type);
}
void norm_rope(float* x, const float* norm_weight, int n, float eps, const float* cos, const float* sin, float scale) {
  HWY_DYNAMIC_DISPATCH(NormRope)(x, norm_weight, n, eps, cos, sin, scale);
}
void swiglu(const float* gate, const float* up, int n, void* out, DType out_type) {
  HWY_DYNAMIC_DISPATCH(SwiGlu)(gate, up, n, out, out_type);
}
void add_bias(float* x, const float* bias, int n) { HWY_DYNAMIC_DISPATCH(AddBias)(x, bias, n); }
void store(const float* x, int n, void* out, DType out_type) { HWY_DYNAMIC_DISPATCH(Store)(x, n, out, out_type); }
void load(const void* x, DType type, int n, float* out) { HWY_DYNAMIC_DISPATCH(Load)(x, type, n, out); }
decide::TilePartial reduce_tile(float* logits, int n, int32_t first_id, float scale, bool entropy, float* exps) {
  return HWY_DYNAMIC_DISPATCH(ReduceTile)(logits, n, first_id, scale, entropy, exps);
}
const char* simd_name() { return HWY_DYNAMIC_DISPATCH(SimdName)(); }

}  // namespace diffulex::cpu
#endif  // HWY_ONCE
