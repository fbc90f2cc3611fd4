// The narrow kernel's work on a round of tiles. Scores and weights of a part of a tile are one
// warp's, which knows the maxima of all tiles in between; values are added tile after tile, by each
// warp in its columns. So the operations on a row are those of the wide kernel, in the same order.
#pragma once

#include "cuda/kernels/attention_narrow_block.h"

namespace diffulex::cuda {

template <class S>
using PartScores = float[S::kWarpKeys / 8][4];

template <class S>
__device__ inline void narrow_scores(const uint16_t* queries, const uint16_t* keys,
                                     PartScores<S>& scores) {
  const int lane = lane_id();
  const uint32_t query = shared_address(queries + lane % 16 * S::kLine + lane / 16 * 8);
  const uint32_t key =
      shared_address(keys + (lane % 8 + lane / 16 * 8) * S::kLine + lane / 8 % 2 * 8);
#pragma unroll
  for (int d = 0; d < S::kDim / 16; ++d) {
    uint32_t a[4], b[S::kWarpKeys / 16][4];
    load_matrices(a, query + static_cast<uint32_t>(d) * 32);
#pragma unroll
    for (int g = 0; g < S::kWarpKeys / 16; ++g)
      load_matrices(b[g], key + static_cast<uint32_t>(g * 16 * S::kLine + d * 16) * 2);
#pragma unroll
    for (int g = 0; g < S::kWarpKeys / 16; ++g) {
      multiply_add(scores[2 * g], a, b[g][0], b[g][1]);
      multiply_add(scores[2 * g + 1], a, b[g][2], b[g][3]);
    }
  }
}

template <class S>
__device__ inline void narrow_mask(const NarrowShared<S>& shared, int32_t at,
                                   PartScores<S>& scores) {
  const int32_t origin = at + lane_id() % 4 * 2;
  const int32_t hole_begin = shared.item.hole_begin, hole_end = shared.item.hole_end;
  const bool hole = hole_begin < at + S::kWarpKeys && hole_end > at;
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const int2 range = shared.ranges[lane_id() / 4 + h * 8];
    hide<false>(scores, h, range.x - origin, range.y - origin);
    if (hole) hide<true>(scores, h, hole_begin - origin, hole_end - origin);
  }
}

// The largest score of each row in the warp's part.
template <class S>
__device__ inline void narrow_tops(const PartScores<S>& scores, float (&tops)[kNarrowVectors]) {
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    float top = -INFINITY;
#pragma unroll
    for (int j = 0; j < S::kWarpKeys / 8; ++j)
      top = fmaxf(top, fmaxf(scores[j][2 * h], scores[j][2 * h + 1]));
    top = fmaxf(top, __shfl_xor_sync(~0u, top, 1));
    top = fmaxf(top, __shfl_xor_sync(~0u, top, 2));
    if (lane_id() % 4 == 0) tops[lane_id() / 4 + h * 8] = top;
  }
}

// A round's tiles one after another: by how much what is behind each fades, and what the scores of
// tile `own` are measured from.
template <class S>
struct RoundScale {
  float decay[S::kRound][2], shift[2];

  __device__ RoundScale(NarrowSums<S>& acc, float scale2, int count, int own,
                        const float (&tops)[S::kRound][S::kTileWarps][kNarrowVectors]) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      shift[h] = 0;
#pragma unroll
      for (int t = 0; t < S::kRound; ++t) {
        if (t >= count) break;
        float top = tops[t][0][lane_id() / 4 + h * 8];
#pragma unroll
        for (int w = 1; w < S::kTileWarps; ++w) top = fmaxf(top, tops[t][w][lane_id() / 4 + h * 8]);
        const float next = fmaxf(acc.top[h], top * scale2);
        const float from = next == -INFINITY ? 0.0f : next;  // nothing seen yet: weights are 0
        decay[t][h] = fast_exp2(acc.top[h] - from);
        acc.top[h] = next;
        if (t == own) shift[h] = from;
      }
    }
  }
};

// The weights of the warp's part, and their sums: of 16 keys, then of two of these.
template <class S>
__device__ inline void narrow_weights(PartScores<S>& scores, float scale2, const float (&shift)[2],
                                      uint16_t* weights, float (&row_sums)[kNarrowVectors][4]) {
  const int row = lane_id() / 4, column = lane_id() % 4;
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    uint16_t* const to = weights + (row + h * 8) * kWeightLine + column * 2;
#pragma unroll
    for (int j = 0; j < S::kWarpKeys / 8; ++j) {
      float &a = scores[j][2 * h], &b = scores[j][2 * h + 1];
      a = fast_exp2(fmaf(a, scale2, -shift[h]));
      b = fast_exp2(fmaf(b, scale2, -shift[h]));
      *reinterpret_cast<uint32_t*>(to + j * 8) = pack_bf16(a, b);
    }
    float sums[S::kWarpKeys / 16];
#pragma unroll
    for (int g = 0; g < S::kWarpKeys / 16; ++g)
      sums[g] = (scores[2 * g][2 * h] + scores[2 * g][2 * h + 1]) +
                (scores[2 * g + 1][2 * h] + scores[2 * g + 1][2 * h + 1]);
    float sum = sums[0] + sums[1];
    if constexpr (S::kWarpKeys == 64) sum += sums[2] + sums[3];
    row_sums[row + h * 8][column] = sum;
  }
}

template <class S>
__device__ inline void narrow_fade(NarrowSums<S>& acc, const float (&decay)[2],
                                   const float (&row_sums)[S::kTileWarps][kNarrowVectors][4]) {
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    float sum = row_sums[0][lane_id() / 4 + h * 8][lane_id() % 4];
#pragma unroll
    for (int w = 1; w < S::kTileWarps; ++w)
      sum += row_sums[w][lane_id() / 4 + h * 8][lane_id() % 4];
    acc.sum[h] = fmaf(acc.sum[h], decay[h], sum);
#pragma unroll
    for (int i = 0; i < S::kColumns / 8; ++i) {
      acc.out[i][2 * h] *= decay[h];
      acc.out[i][2 * h + 1] *= decay[h];
    }
  }
}

template <class S>
__device__ inline void narrow_values(NarrowSums<S>& acc, const uint16_t* weights,
                                     const uint16_t* values) {
  const int lane = lane_id();
  const uint32_t weight = shared_address(weights + lane % 16 * kWeightLine + lane / 16 * 8);
  const uint32_t value =
      shared_address(values + lane % 16 * S::kLine + warp_id() * S::kColumns + lane / 16 * 8);
#pragma unroll
  for (int j = 0; j < S::kKeys / 16; ++j) {
    uint32_t a[4];
    load_matrices(a, weight + static_cast<uint32_t>(j) * 32);
#pragma unroll
    for (int i = 0; i < S::kColumns / 16; ++i) {
      uint32_t b[4];
      load_transposed(b, value + static_cast<uint32_t>(j * 16 * S::kLine + i * 16) * 2);
      multiply_add(acc.out[2 * i], a, b[0], b[1]);
      multiply_add(acc.out[2 * i + 1], a, b[2], b[3]);
    }
  }
}

// Of computing and loading warps, which get there on different ways.
__device__ inline void sync_all_warps() {
  asm volatile("barrier.sync 1, %0;" ::"n"(kNarrowThreads) : "memory");
}

// A round, between its three barriers: the computing warps have scores, then weights, then add the
// values; the loading ones send for the round's values, then for the next one's keys.
template <class S>
struct NarrowRounds {
  const AttentionArgs& args;
  const Divisor page_size;
  const int32_t end;
  NarrowShared<S>& shared;
  Round<S> round;
  int turn = 0;       // of the places
  bool first = true;  // the values are there already

  __device__ void compute(NarrowSums<S>& acc) {
    const int own = warp_id() / S::kTileWarps, count = round.count(end);  // own: the warp's tile,
    const int part = warp_id() % S::kTileWarps;                           // and which part of it
    const float scale2 = args.scale * kLog2E;
    PartScores<S> scores = {};
    if (own < count) {
      narrow_scores<S>(shared.queries, shared.keys[own] + part * S::kWarpKeys * S::kLine, scores);
      const int32_t at = round.of(own) + part * S::kWarpKeys;
      if (!shared.item.whole(at, S::kWarpKeys)) narrow_mask(shared, at, scores);
      narrow_tops<S>(scores, shared.tops[own][part]);
    }
    sync_all_warps();
    const RoundScale<S> scale(acc, scale2, count, own, shared.tops);
    if (own < count)
      narrow_weights<S>(scores, scale2, scale.shift, shared.weights[own] + part * S::kWarpKeys,
                        shared.sums[own][part]);
    sync_all_warps();
#pragma unroll
    for (int t = 0; t < S::kRound; ++t) {
      if (t >= count) break;
      narrow_fade(acc, scale.decay[t], shared.sums[t]);
      narrow_values(acc, shared.weights[t], shared.values[t]);
    }
  }

  __device__ void load(const Round<S>& next) {
    const int thread = static_cast<int>(threadIdx.x) - kThreads;
    const PlaceFinder<S, kThreads> finder(shared, page_size, next, thread);
    if (!first) {
#pragma unroll 1
      for (int t = 0; t < round.count(end); ++t)
        load_values<S, kThreads>(args, shared.places[turn], t, thread, shared);
    }
    commit_copies();
    RoundPlaces<S>& places = shared.places[turn ^ 1];
    finder.write(args, shared, page_size, places);
    sync_all_warps();
#pragma unroll 1
    for (int t = 0; t < next.count(end); ++t)
      load_keys<S, kThreads>(args, places, t, thread, shared);
    commit_copies();
    wait_copies<1>();
    sync_all_warps();
    wait_copies<0>();
  }
};

// Adds the tiles from `at` on that begin below `end`. acc: of the computing warps.
template <class S>
__device__ inline void narrow_rounds(NarrowSums<S>& acc, const AttentionArgs& args,
                                     const NarrowGrid& grid, const NarrowBlock& block, int32_t at,
                                     int32_t end, NarrowShared<S>& shared) {
  NarrowRounds<S> rounds{args, grid.page_size, end, shared, Round<S>(shared.item, at)};
  constexpr int kFinders =
      S::kRound * S::kKeys < kNarrowThreads ? S::kRound * S::kKeys : kNarrowThreads;
  if (threadIdx.x < kFinders)
    PlaceFinder<S, kFinders>(shared, grid.page_size, rounds.round, static_cast<int>(threadIdx.x))
        .write(args, shared, grid.page_size, shared.places[0]);
  __syncthreads();
  load_first_round(args, block, rounds.round, end, shared);
  wait_copies<0>();
  while (rounds.round.at[0] < end) {
    const Round<S> next = rounds.round.next(shared.item);
    __syncthreads();  // keys are there, and nobody reads the values before
    if (threadIdx.x < kThreads)
      rounds.compute(acc);
    else
      rounds.load(next);
    rounds.round = next, rounds.turn ^= 1, rounds.first = false;
  }
}

template <class S>
__device__ inline void reset(NarrowSums<S>& acc) {
  acc.top[0] = acc.top[1] = -INFINITY;
  acc.sum[0] = acc.sum[1] = 0;
#pragma unroll
  for (int i = 0; i < S::kColumns / 8; ++i)
#pragma unroll
    for (int e = 0; e < 4; ++e) acc.out[i][e] = 0;
}

template <class S>
__device__ inline void narrow_store(const NarrowSums<S>& acc, const AttentionArgs& args,
                                    const NarrowBlock& block) {
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const int v = lane_id() / 4 + h * 8;
    if (v >= block.count) continue;
    const float inverse = inverse_of(acc.sum[h]);
    uint16_t* const to =
        static_cast<uint16_t*>(args.out) + vector_element(args, block.view, block.begin + v);
#pragma unroll
    for (int i = 0; i < S::kColumns / 8; ++i) {
      const int column = warp_id() * S::kColumns + i * 8 + lane_id() % 4 * 2;
      if (column < args.kv.dim)
        *reinterpret_cast<uint32_t*>(to + column) =
            pack_bf16(acc.out[i][2 * h] * inverse, acc.out[i][2 * h + 1] * inverse);
    }
  }
}

}  // namespace diffulex::cuda
