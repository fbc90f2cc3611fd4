// What becomes of a head of the QKV product: RMSNorm, rotation, and its way to queries, flight and
// pages. Lanes have four neighbours in either half of a head, so a warp takes one head or several
// small ones at a time. Device code only.
#pragma once

#include "cuda/kernels/body.h"
#include "cuda/kernels/element.h"

namespace diffulex::cuda {

// Where the head's result goes; page is null where it is not stored.
template <class T>
struct Target {
  T* out;
  T* page;
};

// A row's place.
struct RowPlace {
  int64_t row;
  int64_t line;  // of the page, in kv_heads * page_size lines; -1: the row is not stored
  int32_t position;
};

__device__ inline RowPlace place_of(const RopeArgs& a, const StepView& step, int row) {
  const RequestRow& request = step.requests[step.row_request[row]];
  const int32_t in_request = row - static_cast<int32_t>(request.first_token);
  RowPlace place{row, -1, request.context_len + in_request};
  if (in_request >= request.store_len) return place;
  const int32_t page = place.position / a.kv.page_size;
  const int64_t slot = request.slot;
  place.line = int64_t{a.tables[slot * a.table_stride + page]} * a.kv.kv_heads * a.kv.page_size +
               (place.position - page * a.kv.page_size);
  return place;
}

template <class T>
__device__ inline Target<T> target_of(const RopeArgs& a, const RowPlace& place, int head) {
  const KeyValues& kv = a.kv;
  if (head < a.heads)
    return {static_cast<T*>(a.queries) + (place.row * a.heads + head) * kv.dim, nullptr};
  const bool key = head < a.heads + kv.kv_heads;
  const int kv_head = key ? head - a.heads : head - a.heads - kv.kv_heads;
  T* const flight = static_cast<T*>(key ? kv.flight_keys : kv.flight_values);
  Target<T> target{flight + (int64_t{kv_head} * kv.flight_rows + place.row) * kv.dim, nullptr};
  T* const pages = static_cast<T*>(key ? kv.page_keys : kv.page_values);
  if (place.line >= 0)
    target.page = pages + (place.line + int64_t{kv_head} * kv.page_size) * kv.dim;
  return target;
}

template <class T>
__device__ inline void put(const Target<T>& target, int i, float4 x) {
  store4(target.out + i, x);
  if (target.page != nullptr) store4(target.page + i, x);
}

__device__ inline float4 scaled(float4 x, float scale, float4 weight) {
  return {x.x * (scale * weight.x), x.y * (scale * weight.y), x.z * (scale * weight.z),
          x.w * (scale * weight.w)};
}
// a * c + b * s. Rounds the same wherever it is compiled, as does all that follows.
__device__ inline float turned(float a, float c, float b, float s) {
  return __fmaf_rn(a, c, __fmul_rn(b, s));
}
__device__ inline float4 turned(float4 a, float4 c, float4 b, float4 s) {
  return {turned(a.x, c.x, b.x, s.x), turned(a.y, c.y, b.y, s.y), turned(a.z, c.z, b.z, s.z),
          turned(a.w, c.w, b.w, s.w)};
}
__device__ inline float with_squares(float sum, float4 v) {
  return __fmaf_rn(v.x, v.x, __fmaf_rn(v.y, v.y, __fmaf_rn(v.z, v.z, __fmaf_rn(v.w, v.w, sum))));
}

// How the lanes of a warp share heads: `lanes` of them take one head.
struct HeadShare {
  int lanes, first;  // first: element of the lane's first quad
  __device__ explicit HeadShare(int dim) {
    lanes = 1;
    while (lanes < 32 && lanes * 8 < dim) lanes *= 2;
    first = 4 * (static_cast<int>(threadIdx.x) % lanes);
  }
  __device__ int heads() const { return 32 / lanes; }  // of a warp at a time
  __device__ int head() const { return static_cast<int>(threadIdx.x) % 32 / lanes; }
  __device__ float add_up(float x) const {  // over the lanes of a head
    for (int offset = lanes / 2; offset > 0; offset /= 2) x += __shfl_xor_sync(~0u, x, offset);
    return x;
  }
};

// Of the head's norm; null: it has none.
__device__ inline const float* head_weight(const RopeArgs& a, int head) {
  return head < a.heads ? a.q_norm : head < a.heads + a.kv.kv_heads ? a.k_norm : nullptr;
}

// kQuads: of a lane, in either half of a head.
template <int kQuads>
struct HeadPart {
  float4 low[kQuads], high[kQuads];
};

// What a head's elements are multiplied with by its norm, weights aside. Called by whole warps.
template <int kQuads>
__device__ inline float head_scale(const RopeArgs& a, const HeadShare& share,
                                   const HeadPart<kQuads>& x) {
  float total = 0;
#pragma unroll
  for (int k = 0; k < kQuads; ++k) total = with_squares(with_squares(total, x.low[k]), x.high[k]);
  return rsqrtf(__fadd_rn(__fdiv_rn(share.add_up(total), static_cast<float>(a.kv.dim)), a.eps));
}

// Normalises, rotates and stores a head. weights, cos, sin: read where they are used.
template <class T, int kQuads>
__device__ inline void store_head(const RopeArgs& a, const RowPlace& place, const HeadShare& share,
                                  int head, float scale, const HeadPart<kQuads>& x,
                                  const HeadPart<kQuads>& weights, const float4 (&cos)[kQuads],
                                  const float4 (&sin)[kQuads]) {
  const int half = a.kv.dim / 2;
  const bool value = head >= a.heads + a.kv.kv_heads, normed = head_weight(a, head) != nullptr;
  const Target<T> target = target_of<T>(a, place, head);
#pragma unroll
  for (int k = 0; k < kQuads; ++k) {
    const int i = share.first + 128 * k;
    if (i >= half) continue;
    float4 u = x.low[k], v = x.high[k];
    if (normed) u = scaled(u, scale, weights.low[k]), v = scaled(v, scale, weights.high[k]);
    const float4 s = sin[k], back{-s.x, -s.y, -s.z, -s.w};
    put(target, i, value ? u : turned(u, cos[k], v, back));
    put(target, i + half, value ? v : turned(v, cos[k], u, s));
  }
}

}  // namespace diffulex::cuda
