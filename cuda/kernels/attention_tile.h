// The bf16 kernel's block: its shared memory, its registers, and the work on one tile of keys.
#pragma once

#include <cuda_runtime.h>

#include "cuda/kernels/attention_item.h"
#include "cuda/kernels/mma.h"

namespace diffulex::cuda {

inline constexpr int kWarps = 4, kThreads = kWarps * 32;
inline constexpr int kPad =
    8;  // elements; 8 lines of a column of 16 bytes then lie in different banks

// dim: of a head, rounded up. out: columns of the result that a block computes. tiles: of 16
// vectors, a warp's. keys: of a tile.
template <int dim, int out, int tiles, int keys>
struct Shape {
  static constexpr int kDim = dim, kOut = out, kTiles = tiles, kKeys = keys;
  static constexpr int kVectors = kWarps * tiles * 16;
  static constexpr int kSlices = dim / out;
  static constexpr int kLine = dim + kPad, kValueLine = out + kPad;  // elements
  static constexpr int kKeyTile = keys * kLine, kValueTile = keys * kValueLine;
  static constexpr int kElements = kVectors * kLine + 2 * kKeyTile + 2 * kValueTile;
};

struct Place {  // of a key; null: no row sees it
  const uint16_t* key;
  const uint16_t* value;
};

template <class S>
struct Shared {
  uint16_t queries[S::kVectors * S::kLine];
  uint16_t keys[2][S::kKeyTile];
  uint16_t values[2][S::kValueTile];
  Place places[2][S::kKeys];
  int32_t limits[4];
};

// What a warp knows about its vectors: lane l has rows l / 4 and l / 4 + 8 of each tile.
template <class S>
struct Accumulators {
  float out[S::kTiles][S::kOut / 8][4];
  float top[S::kTiles][2], sum[S::kTiles][2];  // sum: of the lane's own columns
  int32_t begin[S::kTiles][2], end[S::kTiles][2];
};

__device__ inline int lane_id() { return static_cast<int>(threadIdx.x) % 32; }
__device__ inline int warp_id() { return static_cast<int>(threadIdx.x) / 32; }

// First vector of a warp's tile.
__device__ inline int tile_vector(int tile) { return (warp_id() + tile * kWarps) * 16; }

// Thread j finds the place of the tile's key j. That needs an entry of the page table, which is
// asked for one tile earlier: page_at.
template <class S>
__device__ inline int32_t page_at(const AttentionArgs& args, const ItemView& view,
                                  const ItemKeys& keys, int32_t at) {
  const int32_t position = at + static_cast<int32_t>(threadIdx.x);
  if (threadIdx.x >= S::kKeys || !keys.visible(position)) return 0;
  return find_page(args, view, position);
}

template <class S>
__device__ inline void find_places(const AttentionArgs& args, const ItemView& view,
                                   const ItemKeys& keys, int32_t at, int32_t page, int slice,
                                   Place* places) {
  if (threadIdx.x >= S::kKeys) return;
  const int32_t position = at + static_cast<int32_t>(threadIdx.x);
  Place place{nullptr, nullptr};
  if (keys.visible(position)) {
    const KeyPlace found = place_key(args, view, position, page);
    const KeyValues& kv = args.kv;
    place.key =
        static_cast<const uint16_t*>(found.cached ? kv.page_keys : kv.flight_keys) + found.element;
    place.value = static_cast<const uint16_t*>(found.cached ? kv.page_values : kv.flight_values) +
                  found.element + slice * S::kOut;
  }
  places[threadIdx.x] = place;
}

template <class S>
__device__ inline void load_tile(const AttentionArgs& args, int slice, Shared<S>& shared,
                                 int buffer) {
  const uint32_t keys = shared_address(shared.keys[buffer]);
  const uint32_t values = shared_address(shared.values[buffer]);
  constexpr int kChunks = S::kDim / 8, kOutChunks = S::kOut / 8;
  const int chunks = args.kv.dim / 8, out_chunks = chunks - slice * kOutChunks;
#pragma unroll
  for (int i = static_cast<int>(threadIdx.x); i < S::kKeys * kChunks; i += kThreads) {
    const int line = i / kChunks, chunk = i % kChunks;
    const uint16_t* const from = shared.places[buffer][line].key;
    if (chunk < chunks)
      copy_async(keys + static_cast<uint32_t>(line * S::kLine + chunk * 8) * 2,
                 from == nullptr ? args.queries : from + chunk * 8, from != nullptr);
  }
#pragma unroll
  for (int i = static_cast<int>(threadIdx.x); i < S::kKeys * kOutChunks; i += kThreads) {
    const int line = i / kOutChunks, chunk = i % kOutChunks;
    const uint16_t* const from = shared.places[buffer][line].value;
    if (chunk < out_chunks)
      copy_async(values + static_cast<uint32_t>(line * S::kValueLine + chunk * 8) * 2,
                 from == nullptr ? args.queries : from + chunk * 8, from != nullptr);
  }
}

// Zeros where no copy goes: dims behind the head's, which are multiplied all the same.
template <class S>
__device__ inline void clear_shared(Shared<S>& shared) {
  uint4* const p = reinterpret_cast<uint4*>(&shared);
  for (int i = static_cast<int>(threadIdx.x); i < S::kElements / 8; i += kThreads)
    p[i] = uint4{0, 0, 0, 0};
}

template <class S>
__device__ inline void load_queries(const AttentionArgs& args, const ItemView& view, int begin,
                                    int count, Shared<S>& shared) {
  const uint32_t to = shared_address(shared.queries);
  const int chunks = args.kv.dim / 8;
  for (int v = warp_id(); v < S::kVectors; v += kWarps) {
    const bool valid = v < count;
    const uint16_t* const from = static_cast<const uint16_t*>(args.queries) +
                                 (valid ? vector_element(args, view, begin + v) : 0);
    for (int chunk = lane_id(); chunk < chunks; chunk += 32)
      copy_async(to + static_cast<uint32_t>(v * S::kLine + chunk * 8) * 2,
                 valid ? from + chunk * 8 : from, valid);
  }
}

// scores[16 * n, keys] of the warp's first n tiles.
template <class S, int n>
__device__ inline void compute_scores(const uint16_t* queries, const uint16_t* keys,
                                      float (&scores)[n][S::kKeys / 8][4]) {
  const int lane = lane_id();
  const uint32_t query =
      shared_address(queries + (tile_vector(0) + lane % 16) * S::kLine + lane / 16 * 8);
  const uint32_t key =
      shared_address(keys + (lane % 8 + lane / 16 * 8) * S::kLine + lane / 8 % 2 * 8);
#pragma unroll
  for (int d = 0; d < S::kDim / 16; ++d) {
    uint32_t a[n][4];
#pragma unroll
    for (int t = 0; t < n; ++t)
      load_matrices(a[t], query + static_cast<uint32_t>(t * kWarps * 16 * S::kLine + d * 16) * 2);
#pragma unroll
    for (int j = 0; j < S::kKeys / 16; ++j) {
      uint32_t b[4];
      load_matrices(b, key + static_cast<uint32_t>(j * 16 * S::kLine + d * 16) * 2);
#pragma unroll
      for (int t = 0; t < n; ++t) {
        multiply_add(scores[t][2 * j], a[t], b[0], b[1]);
        multiply_add(scores[t][2 * j + 1], a[t], b[2], b[3]);
      }
    }
  }
}

template <class S, int n>
__device__ inline void mask_scores(const Accumulators<S>& acc, const ItemKeys& keys, int32_t at,
                                   float (&scores)[n][S::kKeys / 8][4]) {
#pragma unroll
  for (int j = 0; j < S::kKeys / 8; ++j)
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      const int32_t position = at + j * 8 + lane_id() % 4 * 2 + e;
      const bool hidden = position >= keys.hole_begin && position < keys.hole_end;
#pragma unroll
      for (int t = 0; t < n; ++t)
#pragma unroll
        for (int h = 0; h < 2; ++h)
          if (hidden || position < acc.begin[t][h] || position >= acc.end[t][h])
            scores[t][j][2 * h + e] = -INFINITY;
    }
}

// Scores become weights; what was summed before fades to the new maximum.
template <class S, int n>
__device__ inline void soften(Accumulators<S>& acc, float scale2,
                              float (&scores)[n][S::kKeys / 8][4]) {
#pragma unroll
  for (int t = 0; t < n; ++t)
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      float top = -INFINITY;
#pragma unroll
      for (int j = 0; j < S::kKeys / 8; ++j)
        top = fmaxf(top, fmaxf(scores[t][j][2 * h], scores[t][j][2 * h + 1]));
      top = fmaxf(top, __shfl_xor_sync(~0u, top, 1));
      top = fmaxf(top, __shfl_xor_sync(~0u, top, 2));
      const float next = fmaxf(acc.top[t][h], top * scale2);
      const float shift = next == -INFINITY ? 0.0f : next;  // nothing seen yet: weights are 0
      const float decay = fast_exp2(acc.top[t][h] - shift);
      float sum = 0;
#pragma unroll
      for (int j = 0; j < S::kKeys / 8; ++j)
#pragma unroll
        for (int e = 0; e < 2; ++e) {
          float& x = scores[t][j][2 * h + e];
          x = fast_exp2(fmaf(x, scale2, -shift));
          sum += x;
        }
      acc.sum[t][h] = fmaf(acc.sum[t][h], decay, sum);
      acc.top[t][h] = next;
#pragma unroll
      for (int i = 0; i < S::kOut / 8; ++i) {
        acc.out[t][i][2 * h] *= decay;
        acc.out[t][i][2 * h + 1] *= decay;
      }
    }
}

template <class S, int n>
__device__ inline void add_values(Accumulators<S>& acc, const uint16_t* values,
                                  const float (&weights)[n][S::kKeys / 8][4]) {
  const int lane = lane_id();
  const uint32_t value = shared_address(values + lane % 16 * S::kValueLine + lane / 16 * 8);
#pragma unroll
  for (int j = 0; j < S::kKeys / 16; ++j) {
    uint32_t a[n][4];
#pragma unroll
    for (int t = 0; t < n; ++t)
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float(&w)[4] = weights[t][2 * j + i / 2];
        a[t][i] = pack_bf16(w[i % 2 * 2], w[i % 2 * 2 + 1]);
      }
#pragma unroll
    for (int i = 0; i < S::kOut / 16; ++i) {
      uint32_t b[4];
      load_transposed(b, value + static_cast<uint32_t>(j * 16 * S::kValueLine + i * 16) * 2);
#pragma unroll
      for (int t = 0; t < n; ++t) {
        multiply_add(acc.out[t][2 * i], a[t], b[0], b[1]);
        multiply_add(acc.out[t][2 * i + 1], a[t], b[2], b[3]);
      }
    }
  }
}

template <class S, int n>
__device__ inline void add_tile(Accumulators<S>& acc, const Shared<S>& shared, int buffer,
                                const ItemKeys& keys, int32_t at, float scale2) {
  float scores[n][S::kKeys / 8][4] = {};
  compute_scores<S, n>(shared.queries, shared.keys[buffer], scores);
  if (!keys.whole(at, S::kKeys)) mask_scores<S, n>(acc, keys, at, scores);
  soften<S, n>(acc, scale2, scores);
  add_values<S, n>(acc, shared.values[buffer], scores);
}

}  // namespace diffulex::cuda
