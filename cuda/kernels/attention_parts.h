// Keys are summed in parts that begin at multiples of a constant; parts are added to one another in
// order. Whether one block does that, part after part, or each part has a block of its own and a
// second kernel adds them, the same operations give the same bits.
#pragma once

#include "cuda/kernels/attention_tile.h"

namespace diffulex::cuda {

inline constexpr int32_t kPartKeys = 1024;

// A block's accumulators in memory, every thread's own values, 16 bytes at a time.
template <class S>
struct Partial {
  float4 limits[S::kTiles][S::kComputing];  // top and sum of both rows
  float4 out[S::kTiles][S::kOut / 8][S::kComputing];
};

template <class S>
__device__ inline void reset(Accumulators<S>& acc) {
#pragma unroll
  for (int t = 0; t < S::kTiles; ++t)
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      acc.top[t][h] = -INFINITY, acc.sum[t][h] = 0;
#pragma unroll
      for (int i = 0; i < S::kOut / 8; ++i) acc.out[t][i][2 * h] = acc.out[t][i][2 * h + 1] = 0;
    }
}

// Ends a part: sums of the columns of four lanes become those of the row.
template <class S>
__device__ inline void add_lanes(Accumulators<S>& acc) {
#pragma unroll
  for (int t = 0; t < S::kTiles; ++t)
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      acc.sum[t][h] += __shfl_xor_sync(~0u, acc.sum[t][h], 1);
      acc.sum[t][h] += __shfl_xor_sync(~0u, acc.sum[t][h], 2);
    }
}

template <class S>
__device__ inline void store_partial(const Accumulators<S>& acc, int count, Partial<S>& to) {
#pragma unroll
  for (int t = 0; t < S::kTiles; ++t) {
    if (tile_vector(t) >= count) continue;
    to.limits[t][threadIdx.x] = float4{acc.top[t][0], acc.top[t][1], acc.sum[t][0], acc.sum[t][1]};
#pragma unroll
    for (int i = 0; i < S::kOut / 8; ++i) {
      const float(&x)[4] = acc.out[t][i];
      to.out[t][i][threadIdx.x] = float4{x[0], x[1], x[2], x[3]};
    }
  }
}

// What brings two maxima to one.
struct Decay {
  float top, old_part, new_part;
};

__device__ inline Decay common_top(float old_top, float new_top) {
  const float top = fmaxf(old_top, new_top), shift = top == -INFINITY ? 0.0f : top;
  return {top, fast_exp2(old_top - shift), fast_exp2(new_top - shift)};
}

// Rounds the same wherever it is compiled.
__device__ inline float add_part(const Decay& d, float old_part, float new_part) {
  return __fmaf_rn(new_part, d.new_part, __fmul_rn(old_part, d.old_part));
}

// Puts the keys of an earlier partial before those of the accumulators.
template <class S>
__device__ inline void add_before(Accumulators<S>& acc, int count, const Partial<S>& before) {
#pragma unroll
  for (int t = 0; t < S::kTiles; ++t) {
    if (tile_vector(t) >= count) continue;
    const float4 limits = before.limits[t][threadIdx.x];
    const float top[2] = {limits.x, limits.y}, sum[2] = {limits.z, limits.w};
    Decay decay[2];
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      decay[h] = common_top(top[h], acc.top[t][h]);
      acc.top[t][h] = decay[h].top;
      acc.sum[t][h] = add_part(decay[h], sum[h], acc.sum[t][h]);
    }
#pragma unroll
    for (int i = 0; i < S::kOut / 8; ++i) {
      const float4 x = before.out[t][i][threadIdx.x];
      const float other[4] = {x.x, x.y, x.z, x.w};
#pragma unroll
      for (int e = 0; e < 4; ++e)
        acc.out[t][i][e] = add_part(decay[e / 2], other[e], acc.out[t][i][e]);
    }
  }
}

// A row that sees nothing has the sum 0 and gets zeros.
__device__ inline float inverse_of(float sum) { return sum > 0 ? 1.0f / sum : 0.0f; }

// Writes the rows' results; needs add_lanes.
template <class S>
__device__ inline void store(const Accumulators<S>& acc, const AttentionArgs& args,
                             const ItemView& view, int begin, int count, int slice) {
  const int dims = args.kv.dim - slice * S::kOut;
#pragma unroll
  for (int t = 0; t < S::kTiles; ++t)
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int v = tile_vector(t) + lane_id() / 4 + h * 8;
      if (v >= count) continue;
      const float inverse = inverse_of(acc.sum[t][h]);
      uint16_t* const to = static_cast<uint16_t*>(args.out) +
                           vector_element(args, view, begin + v) + slice * S::kOut;
#pragma unroll
      for (int i = 0; i < S::kOut / 8; ++i)
        if (i * 8 < dims)
          *reinterpret_cast<uint32_t*>(to + i * 8 + lane_id() % 4 * 2) =
              pack_bf16(acc.out[t][i][2 * h] * inverse, acc.out[t][i][2 * h + 1] * inverse);
    }
}

}  // namespace diffulex::cuda
