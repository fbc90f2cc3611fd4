#include "backend/cpu/select_kernels.h"

#include <algorithm>
#include <cmath>
#include <limits>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/select_kernels.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "backend/cpu/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace diffulex::cpu {
namespace HWY_NAMESPACE {

// Index of the first element whose running sum passes `target`; the last positive one when rounding
// leaves none.
int draw(const float* weights, int n, float target) {
  constexpr int kRun = 32;
  const hn::CappedTag<float, 16> d;
  const int lanes = static_cast<int>(hn::Lanes(d));
  float sum = 0;
  int last = 0;
  for (int run = 0; run < n; run += kRun) {
    auto total = hn::Zero(d);
    for (int i = 0; i < kRun; i += lanes) total = hn::Add(total, hn::LoadU(d, weights + run + i));
    const float next = sum + hn::GetLane(hn::SumOfLanes(d, total));
    if (next > target || run + kRun >= n) {
      for (int i = run; i < std::min(run + kRun, n); ++i) {
        if (!(weights[i] > 0)) continue;
        last = i;
        sum += weights[i];
        if (sum > target) return i;
      }
    } else {
      for (int i = std::min(run + kRun, n) - 1; i >= run; --i)
        if (weights[i] > 0) {
          last = i;
          break;
        }
    }
    sum = next;
  }
  return last;
}

// The largest of x[0, padded) at an index other than `best`.
float second_of(const float* x, int padded, int best) {
  const hn::CappedTag<float, 16> d;
  const hn::RebindToSigned<decltype(d)> di;
  const auto lowest = hn::Set(d, -std::numeric_limits<float>::infinity());
  auto second = lowest;
  for (int i = 0; i < padded; i += static_cast<int>(hn::Lanes(d))) {
    const auto is_best = hn::RebindMask(d, hn::Eq(hn::Iota(di, i), hn::Set(di, best)));
    second = hn::Max(second, hn::IfThenElse(is_best, lowest, hn::Load(d, x + i)));
  }
  return hn::GetLane(hn::MaxOfLanes(d, second));
}

void reduce_tile_simd(float* logits, int n, int32_t first_id, float temperature, uint32_t flags,
                      float uniform, decide::TilePartial* out) {
  const bool entropy = (flags & decide::kWantEntropy) != 0;
  const hn::CappedTag<float, 16> d;
  const hn::RebindToSigned<decltype(d)> di;
  const int lanes = static_cast<int>(hn::Lanes(d));
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  HWY_ALIGN float x[decide::kTileIds];
  HWY_ALIGN float e[decide::kTileIds];
  const int padded = (n + 31) / 32 * 32;

  std::copy_n(logits, n, x);
  std::fill(x + n, x + padded, -kInfinity);
  const auto largest = hn::Set(d, std::numeric_limits<float>::max());
  const auto divisor = hn::Set(d, temperature);
  auto top = hn::Set(d, -kInfinity);
  for (int i = 0; i < padded; i += lanes) {
    auto l = hn::Load(d, x + i);
    const auto finite = hn::Le(hn::Abs(l), largest);
    if (temperature > 0) l = hn::Min(hn::Max(hn::Div(l, divisor), hn::Neg(largest)), largest);
    l = hn::IfThenElse(finite, l, hn::Set(d, -kInfinity));
    hn::Store(l, d, x + i);
    top = hn::Max(top, l);
  }
  std::copy_n(x, n, logits);
  const float max = hn::GetLane(hn::MaxOfLanes(d, top));
  *out = decide::TilePartial{max, -1, 0, 0, -1, 0, -kInfinity};
  if (!(max > -kInfinity)) return;

  const auto vmax = hn::Set(d, max), log2e = hn::Set(d, kLog2E);
  auto sum = hn::Zero(d), weighted = hn::Zero(d);
  auto best = hn::Set(di, -1);
  for (int i = 0; i < padded; i += lanes) {
    const auto l = hn::Load(d, x + i);
    const auto shifted = hn::Sub(l, vmax);
    const auto w = exp2(d, hn::Mul(shifted, log2e));
    sum = hn::Add(sum, w);
    if (entropy)
      weighted = hn::MulAdd(w, hn::IfThenElseZero(hn::Gt(w, hn::Zero(d)), shifted), weighted);
    const auto at_max = hn::RebindMask(di, hn::Eq(l, vmax));
    best = hn::IfThenElse(at_max, hn::Iota(di, i), best);
    hn::Store(w, d, e + i);
  }
  out->sum = hn::GetLane(hn::SumOfLanes(d, sum));
  out->weighted = hn::GetLane(hn::SumOfLanes(d, weighted));
  const int at = hn::GetLane(hn::MaxOfLanes(di, best));
  out->argmax = first_id + at;
  if ((flags & decide::kWantMargin) != 0) out->second = second_of(x, padded, at);
  if (uniform >= 0) {
    const int i = draw(e, padded, uniform * out->sum);
    out->sampled = first_id + i;
    out->sampled_logit = x[i];
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace diffulex::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace diffulex::cpu {

HWY_EXPORT(reduce_tile_simd);

void reduce_tile(float* logits, int n, int32_t first_id, float temperature, uint32_t flags,
                 float uniform, decide::TilePartial* out) {
  HWY_DYNAMIC_DISPATCH(reduce_tile_simd)(logits, n, first_id, temperature, flags, uniform, out);
}

}  // namespace diffulex::cpu
#endif
