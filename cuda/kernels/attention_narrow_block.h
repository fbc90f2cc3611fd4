// The narrow kernel's block: its shared memory, its registers, the work on its tiles of keys, and
// what it leaves.
#pragma once

#include "cuda/kernels/attention_parts.h"
#include "cuda/kernels/launch.h"

namespace diffulex::cuda {

inline constexpr int kNarrowVectors = 16;
inline constexpr int kWeightLine = 64 + kPad;  // of the tile's weights, elements

// As Shape, but all warps have the same vectors: of the scores a warp computes kKeys / kWarps
// columns, of the result kDim / kWarps.
template <int dim>
struct Narrow {
  static constexpr int kDim = dim, kOut = dim, kKeys = 64, kVectors = kNarrowVectors;
  static constexpr int kStages = 3;
  static constexpr int kLine = dim + kPad, kValueLine = dim + kPad;
  static constexpr int kKeyTile = kKeys * kLine, kValueTile = kKeys * kValueLine;
  static constexpr int kColumns = dim / kWarps;  // of the result, a warp's
};

template <class S>
struct NarrowShared {
  Shared<S> common;
  uint16_t weights[kNarrowVectors * kWeightLine];
  float tops[kWarps][kNarrowVectors];
  float sums[kWarps][kNarrowVectors][4];  // of 16 keys, of a lane's columns
};

template <class S>
struct NarrowSums {
  float out[S::kColumns / 8][4];
  float top[2], sum[2];  // of rows lane / 4 and that + 8; every warp has them
};

// A block's sums in memory, every thread's own values.
template <class S>
struct NarrowPartial {
  float4 limits[32];  // top and sum of both rows
  float4 out[S::kColumns / 8][kThreads];
};

struct NarrowGrid {
  int chunks;
  Divisor page_size;
  int parts;
  void* partials;
};

template <class S>
__device__ inline NarrowPartial<S>& partial(const NarrowGrid& grid, int part) {
  return static_cast<NarrowPartial<S>*>(
      grid.partials)[static_cast<int64_t>(blockIdx.x) * grid.parts + part];
}

struct NarrowBlock {
  ItemView view;
  int begin, count;  // vectors
};

__device__ inline NarrowBlock narrow_block(const AttentionArgs& args, const NarrowGrid& grid) {
  const BlockIndex index = block_index(args, grid.chunks);
  const ItemView view = view_item(args, index.item, index.head);
  const int begin = index.chunk * kNarrowVectors;
  return {view, begin, min(view.vectors - begin, kNarrowVectors)};
}

// Scores of the tile's 16 keys that are the warp's.
template <class S>
__device__ inline void narrow_scores(const uint16_t* queries, const uint16_t* keys,
                                     float (&scores)[2][4]) {
  const int lane = lane_id();
  const uint32_t query = shared_address(queries + lane % 16 * S::kLine + lane / 16 * 8);
  const uint32_t key = shared_address(
      keys + (warp_id() * 16 + lane % 8 + lane / 16 * 8) * S::kLine + lane / 8 % 2 * 8);
#pragma unroll
  for (int d = 0; d < S::kDim / 16; ++d) {
    uint32_t a[4], b[4];
    load_matrices(a, query + static_cast<uint32_t>(d) * 32);
    load_matrices(b, key + static_cast<uint32_t>(d) * 32);
    multiply_add(scores[0], a, b[0], b[1]);
    multiply_add(scores[1], a, b[2], b[3]);
  }
}

template <class S>
__device__ inline void narrow_mask(const Shared<S>& shared, int32_t at, float (&scores)[2][4]) {
  const int32_t origin = at + warp_id() * 16 + lane_id() % 4 * 2;
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const int2 range = shared.ranges[lane_id() / 4 + h * 8];
#pragma unroll
    for (int j = 0; j < 2; ++j)
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const int32_t key = origin + j * 8 + e;
        const bool hidden = key < range.x || key >= range.y ||
                            (key >= shared.item.hole_begin && key < shared.item.hole_end);
        if (hidden) scores[j][2 * h + e] = -INFINITY;
      }
  }
}

// The largest score of each row over all warps, then the weights of the warp's keys.
template <class S>
__device__ inline void narrow_soften(NarrowSums<S>& acc, float scale2, float (&scores)[2][4],
                                     NarrowShared<S>& shared) {
  const int row = lane_id() / 4, column = lane_id() % 4;
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    float top = fmaxf(fmaxf(scores[0][2 * h], scores[0][2 * h + 1]),
                      fmaxf(scores[1][2 * h], scores[1][2 * h + 1]));
    top = fmaxf(top, __shfl_xor_sync(~0u, top, 1));
    top = fmaxf(top, __shfl_xor_sync(~0u, top, 2));
    if (column == 0) shared.tops[warp_id()][row + h * 8] = top;
  }
  __syncthreads();
  float decay[2];
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const int r = row + h * 8;
    const float top = fmaxf(fmaxf(shared.tops[0][r], shared.tops[1][r]),
                            fmaxf(shared.tops[2][r], shared.tops[3][r]));
    const float next = fmaxf(acc.top[h], top * scale2);
    const float shift = next == -INFINITY ? 0.0f : next;  // nothing seen yet: weights are 0
    decay[h] = fast_exp2(acc.top[h] - shift);
    acc.top[h] = next;
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      float(&x)[4] = scores[j];
      x[2 * h] = fast_exp2(fmaf(x[2 * h], scale2, -shift));
      x[2 * h + 1] = fast_exp2(fmaf(x[2 * h + 1], scale2, -shift));
      *reinterpret_cast<uint32_t*>(shared.weights + r * kWeightLine + warp_id() * 16 + j * 8 +
                                   column * 2) = pack_bf16(x[2 * h], x[2 * h + 1]);
    }
    shared.sums[warp_id()][r][column] =
        (scores[0][2 * h] + scores[0][2 * h + 1]) + (scores[1][2 * h] + scores[1][2 * h + 1]);
  }
  __syncthreads();
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const int r = row + h * 8;
    const float sum = (shared.sums[0][r][column] + shared.sums[1][r][column]) +
                      (shared.sums[2][r][column] + shared.sums[3][r][column]);
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
      shared_address(values + lane % 16 * S::kValueLine + warp_id() * S::kColumns + lane / 16 * 8);
#pragma unroll
  for (int j = 0; j < S::kKeys / 16; ++j) {
    uint32_t a[4];
    load_matrices(a, weight + static_cast<uint32_t>(j) * 32);
#pragma unroll
    for (int i = 0; i < S::kColumns / 16; ++i) {
      uint32_t b[4];
      load_transposed(b, value + static_cast<uint32_t>(j * 16 * S::kValueLine + i * 16) * 2);
      multiply_add(acc.out[2 * i], a, b[0], b[1]);
      multiply_add(acc.out[2 * i + 1], a, b[2], b[3]);
    }
  }
}

inline constexpr int kPrefetchTiles = 16;

__device__ inline void prefetch_line(const void* line) {
  asm volatile("prefetch.global.L2 [%0];" ::"l"(line));
}

// Cached tiles from `at` on go to the L2 cache. The blocks of an item do that by turns.
template <class S>
__device__ inline void prefetch_tiles(const AttentionArgs& args, const NarrowGrid& grid,
                                      const NarrowBlock& block, int turn, int32_t at, int32_t end,
                                      const NarrowShared<S>& shared) {
  constexpr int kLineElements = 64;  // 128 bytes
  static_assert(kThreads == 2 * S::kKeys);
  const ItemKeys& keys = shared.common.item;
  const bool is_key = threadIdx.x < S::kKeys;
  const auto* const elements =
      static_cast<const uint16_t*>(is_key ? args.kv.page_keys : args.kv.page_values);
#pragma unroll 2
  for (int tile = 0; tile < kPrefetchTiles && at < end; ++tile, at += S::kKeys) {
    const int32_t position = at + static_cast<int32_t>(threadIdx.x) % S::kKeys;
    if (tile % grid.chunks != turn || position >= block.view.context || !keys.visible(position))
      continue;
    const KeyPlace place = place_key(args.kv, block.view, grid.page_size, position,
                                     find_page(block.view, grid.page_size, position));
    for (int e = 0; e < args.kv.dim; e += kLineElements)
      prefetch_line(elements + place.element + e);
  }
}

// A thread's share of the queries: where they are is known before they are there.
template <class S>
struct QueryCopies {
  static constexpr int kChunks = S::kDim / 8, kCopies = kNarrowVectors * kChunks / kThreads;
  const uint16_t* from[kCopies];
  int bytes[kCopies];

  __device__ QueryCopies(const AttentionArgs& args, const NarrowBlock& block) {
#pragma unroll
    for (int i = 0; i < kCopies; ++i) {
      const int v = vector(i), chunk = static_cast<int>(threadIdx.x) % kChunks;
      const bool valid = v < block.count && chunk < args.kv.dim / 8;
      bytes[i] = valid ? 16 : 0;
      from[i] = static_cast<const uint16_t*>(args.queries) +
                (valid ? vector_element(args, block.view, block.begin + v) + chunk * 8 : 0);
    }
  }
  __device__ static int vector(int i) {
    return (static_cast<int>(threadIdx.x) + i * kThreads) / kChunks;
  }
  __device__ void start(Shared<S>& shared) const {
    const int chunk = static_cast<int>(threadIdx.x) % kChunks;
#pragma unroll
    for (int i = 0; i < kCopies; ++i)
      copy_async(shared_address(shared.queries + vector(i) * S::kLine + chunk * 8), from[i],
                 bytes[i]);
  }
};

// Adds the tiles from `at` on that begin below `end`. Cached keys are there before the kernel in
// front ends; queries and keys in flight are not.
template <class S>
__device__ inline void narrow_tiles(NarrowSums<S>& acc, const AttentionArgs& args,
                                    const NarrowGrid& grid, const NarrowBlock& block, int32_t at,
                                    int32_t end, NarrowShared<S>& shared) {
  Shared<S>& common = shared.common;
  const ItemKeys& keys = common.item;
  const auto behind = [&](int32_t tile) { return keys.next_tile(tile + S::kKeys, S::kKeys); };
  const auto find = [&](int32_t tile, int stage) {
    find_places(args, grid.page_size, tile, page_at(common, grid.page_size, tile), 0, common,
                stage);
  };
  // Copies are two tiles ahead of the computing, places three.
  const int32_t second = behind(at), third = behind(second);
  find(at, 0);
  find(second, 1);
  find(third, 2);
  __syncthreads();
  const QueryCopies<S> queries(args, block);
  bool waited = false;
  const auto load_early = [&](int32_t tile, int stage) {
    if (!waited && (tile + S::kKeys > block.view.context)) wait_for_kernel_before(), waited = true;
    if (tile < end) load_tile(args, 0, common, stage);
  };
  load_early(at, 0);
  load_early(second, 1);
  if (!waited) wait_for_kernel_before();
  queries.start(common);
  commit_copies();
  const float scale2 = args.scale * kLog2E;
  int32_t copied = third;  // the next tile to be copied; its place is known
  for (int stage = 0; at < end; stage = stage == 2 ? 0 : stage + 1) {
    if (copied == third)
      wait_copies<0>();
    else
      wait_copies<1>();
    __syncthreads();
    const int before = stage == 0 ? 2 : stage - 1;
    if (copied < end) load_tile(args, 0, common, before);
    commit_copies();
    copied = behind(copied);
    if (copied < end) find(copied, stage);
    float scores[2][4] = {};
    narrow_scores<S>(common.queries, common.keys[stage], scores);
    if (!keys.whole(at, S::kKeys)) narrow_mask(common, at, scores);
    narrow_soften(acc, scale2, scores, shared);
    narrow_values(acc, shared.weights, common.values[stage]);
    at = behind(at);
  }
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

template <class S>
__device__ inline void reset(NarrowSums<S>& acc) {
  acc.top[0] = acc.top[1] = -INFINITY;
  acc.sum[0] = acc.sum[1] = 0;
#pragma unroll
  for (int i = 0; i < S::kColumns / 8; ++i)
#pragma unroll
    for (int e = 0; e < 4; ++e) acc.out[i][e] = 0;
}

}  // namespace diffulex::cuda
