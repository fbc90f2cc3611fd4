// The bf16 kernel's block: its shared memory, its registers, and the work on one tile of keys.
#pragma once

#include <cuda_runtime.h>

#include "cuda/kernels/attention_item.h"
#include "cuda/kernels/mma.h"

namespace diffulex::cuda {

inline constexpr int kWarps = 4, kThreads = kWarps * 32;
// Elements behind each line: 16 bytes of the same column of 8 lines then lie in different banks.
inline constexpr int kPad = 8;

// dim: of a head, rounded up. out: columns of the result that a block computes. tiles: of 16
// vectors, a warp's. keys: of a tile.
template <int dim, int out, int tiles, int keys>
struct Shape {
  static constexpr int kDim = dim, kOut = out, kTiles = tiles, kKeys = keys;
  static constexpr int kComputing = kThreads;
  static constexpr int kVectors = kWarps * tiles * 16;
  static constexpr int kStages = 2;  // tiles of keys in shared memory
  static constexpr int kSlices = dim / out;
  static constexpr int kLine = dim + kPad, kValueLine = out + kPad;  // elements
  static constexpr int kKeyTile = keys * kLine, kValueTile = keys * kValueLine;
};

struct alignas(16) Place {  // of a key
  const uint16_t* key;
  const uint16_t* value;
};

// What the inner loops do not need stays here and leaves registers to them.
template <class S>
struct Shared {
  uint16_t queries[S::kVectors * S::kLine];
  uint16_t keys[S::kStages][S::kKeyTile];
  uint16_t values[S::kStages][S::kValueTile];
  Place places[S::kStages][S::kKeys];
  int32_t bytes[S::kStages][S::kKeys];  // of every 16 that are read: none where no row sees the key
  int2 ranges[S::kVectors];             // keys [x, y) that a vector sees, but for the hole
  ItemView view;
  ItemKeys item;
  int32_t limits[4];
};

// What a warp knows about its vectors: lane l has rows l / 4 and l / 4 + 8 of each tile.
template <class S>
struct Accumulators {
  float out[S::kTiles][S::kOut / 8][4];
  float top[S::kTiles][2], sum[S::kTiles][2];  // sum: of the lane's own columns
};

__device__ inline int lane_id() { return static_cast<int>(threadIdx.x) % 32; }
__device__ inline int warp_id() { return static_cast<int>(threadIdx.x) / 32; }

// First vector of a warp's tile.
__device__ inline int tile_vector(int tile) { return (warp_id() + tile * kWarps) * 16; }

// Thread j finds the place of the tile's key j. That needs an entry of the page table, which is
// asked for one tile earlier: page_at.
template <class S>
__device__ inline int32_t page_at(const Shared<S>& shared, Divisor page_size, int32_t at) {
  const int32_t position = at + static_cast<int32_t>(threadIdx.x);
  if (threadIdx.x >= S::kKeys || !shared.item.visible(position)) return 0;
  return find_page(shared.view, page_size, position);
}

template <class S>
__device__ inline void find_places(const AttentionArgs& args, Divisor page_size, int32_t at,
                                   int32_t page, int slice, Shared<S>& shared, int buffer) {
  if (threadIdx.x >= S::kKeys) return;
  const KeyValues& kv = args.kv;
  const int32_t position = at + static_cast<int32_t>(threadIdx.x);
  const bool seen = shared.item.visible(position);
  const KeyPlace found = seen ? place_key(kv, shared.view, page_size, position, page)
                              : KeyPlace{0, position < shared.view.context};
  Place place;
  place.key =
      static_cast<const uint16_t*>(found.cached ? kv.page_keys : kv.flight_keys) + found.element;
  place.value = static_cast<const uint16_t*>(found.cached ? kv.page_values : kv.flight_values) +
                found.element + slice * S::kOut;
  shared.places[buffer][threadIdx.x] = place;
  shared.bytes[buffer][threadIdx.x] = seen ? 16 : 0;
}

// A thread copies one column of 16 bytes of every kStep-th line. Columns behind the head's dims
// become zeros: they are multiplied all the same.
template <class S>
__device__ inline void load_tile(const AttentionArgs& args, int slice, Shared<S>& shared,
                                 int buffer) {
  constexpr int kChunks = S::kDim / 8, kOutChunks = S::kOut / 8, kStep = kThreads / kChunks;
  constexpr int kCopies = S::kKeys / kStep, kBatch = 4;
  static_assert(kThreads % kChunks == 0 && kCopies % kBatch == 0);
  const int chunk = static_cast<int>(threadIdx.x) % kChunks;
  const int line = static_cast<int>(threadIdx.x) / kChunks, chunks = args.kv.dim / 8;
  const bool key_column = chunk < chunks, value_column = chunk + slice * kOutChunks < chunks;
  const uint32_t key = shared_address(shared.keys[buffer] + line * S::kLine + chunk * 8);
  const uint32_t value = shared_address(shared.values[buffer] + line * S::kValueLine + chunk * 8);
#pragma unroll
  for (int i = 0; i < kCopies; i += kBatch) {
    Place places[kBatch];  // all read before the first copy, so that one wait suffices
    int bytes[kBatch];
#pragma unroll
    for (int k = 0; k < kBatch; ++k) {
      places[k] = shared.places[buffer][line + (i + k) * kStep];
      bytes[k] = shared.bytes[buffer][line + (i + k) * kStep];
    }
#pragma unroll
    for (int k = 0; k < kBatch; ++k) {
      const auto down = static_cast<uint32_t>((i + k) * kStep);
      copy_async(key + down * S::kLine * 2, places[k].key + chunk * 8, key_column ? bytes[k] : 0);
      if (S::kOut == S::kDim || chunk < kOutChunks)
        copy_async(value + down * S::kValueLine * 2, places[k].value + chunk * 8,
                   value_column ? bytes[k] : 0);
    }
  }
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
    for (int chunk = lane_id(); chunk < S::kDim / 8; chunk += 32)
      copy_async(to + static_cast<uint32_t>(v * S::kLine + chunk * 8) * 2, from + chunk * 8,
                 valid && chunk < chunks ? 16 : 0);
  }
}

// scores[16 * n, keys] of the warp's first n tiles. Matrices are read kAhead multiplications before
// they are needed.
inline constexpr int kAhead = 2;

template <class S, int n>
__device__ inline void compute_scores(const uint16_t* queries, const uint16_t* keys,
                                      float (&scores)[n][S::kKeys / 8][4]) {
  const int lane = lane_id();
  const uint32_t query =
      shared_address(queries + (tile_vector(0) + lane % 16) * S::kLine + lane / 16 * 8);
  const uint32_t key =
      shared_address(keys + (lane % 8 + lane / 16 * 8) * S::kLine + lane / 8 % 2 * 8);
  constexpr int kColumns = S::kKeys / 16, kSteps = S::kDim / 16 * kColumns;
  uint32_t a[2][n][4], b[kAhead][4];
  const auto load_a = [&](int d) {
#pragma unroll
    for (int t = 0; t < n; ++t)
      load_matrices(a[d % 2][t],
                    query + static_cast<uint32_t>(t * kWarps * 16 * S::kLine + d * 16) * 2);
  };
  const auto load_b = [&](int step) {
    const int d = step / kColumns, j = step % kColumns;
    load_matrices(b[step % kAhead], key + static_cast<uint32_t>(j * 16 * S::kLine + d * 16) * 2);
  };
  load_a(0);
#pragma unroll
  for (int step = 0; step < kAhead; ++step) load_b(step);
#pragma unroll
  for (int step = 0; step < kSteps; ++step) {
    const int d = step / kColumns, j = step % kColumns;
    if (j == 0 && d + 1 < S::kDim / 16) load_a(d + 1);
    const uint32_t(&x)[4] = b[step % kAhead];
#pragma unroll
    for (int t = 0; t < n; ++t) {
      multiply_add(scores[t][2 * j], a[d % 2][t], x[0], x[1]);
      multiply_add(scores[t][2 * j + 1], a[d % 2][t], x[2], x[3]);
    }
    if (step + kAhead < kSteps) load_b(step + kAhead);
  }
}

// Hides the scores of positions outside [begin, end), or inside where kInside; both are relative to
// the lane's first column.
template <bool kInside, int kEights>
__device__ inline void hide(float (&scores)[kEights][4], int h, int32_t begin, int32_t end) {
#pragma unroll
  for (int j = 0; j < kEights; ++j)
#pragma unroll
    for (int e = 0; e < 2; ++e)
      if ((j * 8 + e >= begin && j * 8 + e < end) == kInside) scores[j][2 * h + e] = -INFINITY;
}

// memory: has the block's ItemKeys, item, and the ranges of its vectors.
template <class S, int n, class Memory>
__device__ inline void mask_scores(const Memory& memory, int32_t at,
                                   float (&scores)[n][S::kKeys / 8][4]) {
  const int32_t origin = at + lane_id() % 4 * 2;
  const int32_t hole_begin = memory.item.hole_begin, hole_end = memory.item.hole_end;
  const bool hole = hole_begin < at + S::kKeys && hole_end > at;
#pragma unroll
  for (int t = 0; t < n; ++t)
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int2 range = memory.ranges[tile_vector(t) + lane_id() / 4 + h * 8];
      hide<false>(scores[t], h, range.x - origin, range.y - origin);
      if (hole) hide<true>(scores[t], h, hole_begin - origin, hole_end - origin);
    }
}

// The largest score of both rows of a lane's four, which share them.
template <int kEights>
__device__ inline void find_tops(const float (&scores)[kEights][4], float (&top)[2]) {
  float tops[4];  // two chains a row
#pragma unroll
  for (int e = 0; e < 4; ++e) tops[e] = scores[0][e];
#pragma unroll
  for (int j = 1; j < kEights; ++j)
#pragma unroll
    for (int e = 0; e < 4; ++e) tops[e] = fmaxf(tops[e], scores[j][e]);
#pragma unroll
  for (int h = 0; h < 2; ++h) top[h] = fmaxf(tops[2 * h], tops[2 * h + 1]);
#pragma unroll
  for (int lanes = 1; lanes <= 2; lanes *= 2)
#pragma unroll
    for (int h = 0; h < 2; ++h) top[h] = fmaxf(top[h], __shfl_xor_sync(~0u, top[h], lanes));
}

// Sums of 16 keys, then of these: another kernel has a warp for each.
template <int kEights>
__device__ inline float sum_weights(const float (&weights)[kEights][4], int h) {
  float sums[kEights / 2];
#pragma unroll
  for (int g = 0; g < kEights / 2; ++g)
    sums[g] = (weights[2 * g][2 * h] + weights[2 * g][2 * h + 1]) +
              (weights[2 * g + 1][2 * h] + weights[2 * g + 1][2 * h + 1]);
  float sum = sums[0] + sums[1];
  if constexpr (kEights == 8) sum += sums[2] + sums[3];
  return sum;
}

// Scores become weights under a new maximum. Returns what the sums so far fade by: that of the
// weights has, the result is left to fade(). Both rows of a lane go side by side, or each would
// wait for its own last step.
template <class S, int n>
__device__ inline void soften(Accumulators<S>& acc, float scale2,
                              float (&scores)[n][S::kKeys / 8][4], float (&decay)[n][2]) {
#pragma unroll
  for (int t = 0; t < n; ++t) {
    float top[2], shift[2];
    find_tops(scores[t], top);
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      top[h] = fmaxf(acc.top[t][h], top[h] * scale2);
      shift[h] = top[h] == -INFINITY ? 0.0f : top[h];  // nothing seen yet: weights are 0
      decay[t][h] = fast_exp2(acc.top[t][h] - shift[h]);
      acc.top[t][h] = top[h];
    }
#pragma unroll
    for (int j = 0; j < S::kKeys / 8; ++j)
#pragma unroll
      for (int e = 0; e < 4; ++e)
        scores[t][j][e] = fast_exp2(fmaf(scores[t][j][e], scale2, -shift[e / 2]));
#pragma unroll
    for (int h = 0; h < 2; ++h)
      acc.sum[t][h] = fmaf(acc.sum[t][h], decay[t][h], sum_weights(scores[t], h));
  }
}

template <class S, int n>
__device__ inline void fade(Accumulators<S>& acc, const float (&decay)[n][2]) {
#pragma unroll
  for (int t = 0; t < n; ++t)
#pragma unroll
    for (int i = 0; i < S::kOut / 8; ++i)
#pragma unroll
      for (int e = 0; e < 4; ++e) acc.out[t][i][e] *= decay[t][e / 2];
}

// The weights of 16 keys as the left side of a product.
template <int kEights>
__device__ inline void pack_weights(const float (&weights)[kEights][4], int sixteen,
                                    uint32_t (&a)[4]) {
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    const float(&w)[4] = weights[2 * sixteen + k / 2];
    a[k] = pack_bf16(w[k % 2 * 2], w[k % 2 * 2 + 1]);
  }
}

template <class S, int n>
__device__ inline void add_values(Accumulators<S>& acc, const uint16_t* values,
                                  const float (&weights)[n][S::kKeys / 8][4]) {
  const int lane = lane_id();
  const uint32_t value = shared_address(values + lane % 16 * S::kValueLine + lane / 16 * 8);
  constexpr int kColumns = S::kOut / 16, kSteps = S::kKeys / 16 * kColumns;
  uint32_t a[n][4], b[kAhead][4];
  const auto load_b = [&](int step) {
    const int j = step / kColumns, i = step % kColumns;
    load_transposed(b[step % kAhead],
                    value + static_cast<uint32_t>(j * 16 * S::kValueLine + i * 16) * 2);
  };
#pragma unroll
  for (int step = 0; step < kAhead; ++step) load_b(step);
#pragma unroll
  for (int step = 0; step < kSteps; ++step) {
    const int j = step / kColumns, i = step % kColumns;
    if (i == 0)
#pragma unroll
      for (int t = 0; t < n; ++t) pack_weights(weights[t], j, a[t]);
    const uint32_t(&x)[4] = b[step % kAhead];
#pragma unroll
    for (int t = 0; t < n; ++t) {
      multiply_add(acc.out[t][2 * i], a[t], x[0], x[1]);
      multiply_add(acc.out[t][2 * i + 1], a[t], x[2], x[3]);
    }
    if (step + kAhead < kSteps) load_b(step + kAhead);
  }
}

template <class S, int n>
__device__ inline void add_tile(Accumulators<S>& acc, const Shared<S>& shared, int buffer,
                                int32_t at, float scale2) {
  float scores[n][S::kKeys / 8][4] = {};
  compute_scores<S, n>(shared.queries, shared.keys[buffer], scores);
  if (!shared.item.whole(at, S::kKeys)) mask_scores<S, n>(shared, at, scores);
  float decay[n][2];
  soften<S, n>(acc, scale2, scores, decay);
  fade<S, n>(acc, decay);
  add_values<S, n>(acc, shared.values[buffer], scores);
}

}  // namespace diffulex::cuda
