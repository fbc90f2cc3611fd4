// The narrow kernel's block: its shared memory, and how queries, keys and values come into it. Its
// first kWarps warps compute; as many others load what they need next.
#pragma once

#include "cuda/kernels/attention_parts.h"
#include "cuda/kernels/launch.h"

namespace diffulex::cuda {

inline constexpr int kNarrowVectors = 16;
inline constexpr int kNarrowThreads = 2 * kThreads;
inline constexpr int kWeightLine = 64 + kPad;  // of a tile's weights, elements

// round: tiles at a time. Few of them leave room for a second block on a multiprocessor.
template <int dim, int round>
struct Narrow {
  static constexpr int kDim = dim, kKeys = 64;
  static constexpr int kRound = round, kTileWarps = kWarps / round;
  static constexpr int kWarpKeys = kKeys / kTileWarps;  // of a tile, whose scores a warp has
  static constexpr int kLine = dim + kPad;              // elements
  static constexpr int kColumns = dim / kWarps;         // of the result, a warp's
};

// Where the keys of a round are.
template <class S>
struct RoundPlaces {
  Place at[S::kRound][S::kKeys];
  int32_t bytes[S::kRound][S::kKeys];  // of every 16 that are read: none where no row sees the key
};

template <class S>
struct alignas(16) NarrowShared {
  uint16_t queries[kNarrowVectors * S::kLine];
  uint16_t keys[S::kRound][S::kKeys * S::kLine];
  uint16_t values[S::kRound][S::kKeys * S::kLine];
  uint16_t weights[S::kRound][kNarrowVectors * kWeightLine];
  RoundPlaces<S> places[2];  // of a round and the next one
  float tops[S::kRound][S::kTileWarps][kNarrowVectors];
  float sums[S::kRound][S::kTileWarps][kNarrowVectors][4];  // of a lane's columns
  int2 ranges[kNarrowVectors];  // keys [x, y) that a vector sees, but for the hole
  ItemView view;
  ItemKeys item;
  int32_t limits[4];
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

// The next tiles; those at or behind the end do not count.
template <class S>
struct Round {
  int32_t at[S::kRound];

  __device__ Round(const ItemKeys& keys, int32_t first) {
    at[0] = first;
#pragma unroll
    for (int t = 1; t < S::kRound; ++t) at[t] = keys.next_tile(at[t - 1] + S::kKeys, S::kKeys);
  }
  __device__ Round next(const ItemKeys& keys) const {
    return Round(keys, keys.next_tile(at[S::kRound - 1] + S::kKeys, S::kKeys));
  }
  __device__ int32_t of(int t) const {  // keeps the array in registers
    int32_t found = at[0];
#pragma unroll
    for (int i = 1; i < S::kRound; ++i) found = i == t ? at[i] : found;
    return found;
  }
  __device__ int count(int32_t end) const {
    int n = 0;
#pragma unroll
    for (int t = 0; t < S::kRound; ++t) n += at[t] < end ? 1 : 0;
    return n;
  }
};

// A thread's part of finding a round's keys: one of them in every tile that it has. That needs
// entries of the page table, which are asked for first. thread: of `threads`.
template <class S, int threads>
class PlaceFinder {
 public:
  __device__ PlaceFinder(const NarrowShared<S>& shared, Divisor page_size, const Round<S>& round,
                         int thread)
      : thread_(thread) {
#pragma unroll
    for (int i = 0; i < kTiles; ++i) {
      positions_[i] = round.of(tile(i)) + thread % S::kKeys;
      pages_[i] =
          shared.item.visible(positions_[i]) ? find_page(shared.view, page_size, positions_[i]) : 0;
    }
  }
  __device__ void write(const AttentionArgs& args, const NarrowShared<S>& shared, Divisor page_size,
                        RoundPlaces<S>& places) const {
    const KeyValues& kv = args.kv;
#pragma unroll
    for (int i = 0; i < kTiles; ++i) {
      const bool seen = shared.item.visible(positions_[i]);
      const KeyPlace found = seen ? place_key(kv, shared.view, page_size, positions_[i], pages_[i])
                                  : KeyPlace{0, positions_[i] < shared.view.context};
      const void* const keys = found.cached ? kv.page_keys : kv.flight_keys;
      const void* const values = found.cached ? kv.page_values : kv.flight_values;
      places.at[tile(i)][thread_ % S::kKeys] = {
          static_cast<const uint16_t*>(keys) + found.element,
          static_cast<const uint16_t*>(values) + found.element};
      places.bytes[tile(i)][thread_ % S::kKeys] = seen ? 16 : 0;
    }
  }

 private:
  static constexpr int kApart = threads / S::kKeys, kTiles = S::kRound / kApart;
  static_assert(threads % S::kKeys == 0 && S::kRound % kApart == 0);
  __device__ int tile(int i) const { return thread_ / S::kKeys + i * kApart; }

  const int thread_;
  int32_t positions_[kTiles], pages_[kTiles];
};

// Copies the lines of a tile to shared memory. Columns behind the head's dims become zeros: they
// are multiplied all the same. thread: of `threads`.
template <class S, int threads, const uint16_t* Place::*from>
__device__ inline void load_lines(const AttentionArgs& args, const RoundPlaces<S>& places, int tile,
                                  int thread, uint16_t* lines) {
  constexpr int kChunks = S::kDim / 8, kStep = threads / kChunks, kCopies = S::kKeys / kStep;
  const int chunk = thread % kChunks * 8, line = thread / kChunks;
  const uint32_t to = shared_address(lines + line * S::kLine + chunk);
  const uint16_t* begins[kCopies];
  int bytes[kCopies];
#pragma unroll
  for (int i = 0; i < kCopies; ++i) {
    begins[i] = places.at[tile][line + i * kStep].*from;
    bytes[i] = chunk < args.kv.dim ? places.bytes[tile][line + i * kStep] : 0;
  }
#pragma unroll
  for (int i = 0; i < kCopies; ++i)
    copy_async(to + static_cast<uint32_t>(i * kStep * S::kLine) * 2, begins[i] + chunk, bytes[i]);
}

template <class S, int threads>
__device__ inline void load_keys(const AttentionArgs& args, const RoundPlaces<S>& places, int tile,
                                 int thread, NarrowShared<S>& shared) {
  load_lines<S, threads, &Place::key>(args, places, tile, thread, shared.keys[tile]);
}
template <class S, int threads>
__device__ inline void load_values(const AttentionArgs& args, const RoundPlaces<S>& places,
                                   int tile, int thread, NarrowShared<S>& shared) {
  load_lines<S, threads, &Place::value>(args, places, tile, thread, shared.values[tile]);
}

// A thread's share of the queries, 16 bytes: where they are is known before they are there.
template <class S>
struct QueryCopy {
  const uint16_t* from;
  uint16_t* to;  // null: the thread has none
  int bytes;

  __device__ QueryCopy(const AttentionArgs& args, const NarrowBlock& block,
                       NarrowShared<S>& shared) {
    constexpr int kChunks = S::kDim / 8;
    static_assert(kNarrowVectors * kChunks <= kNarrowThreads);
    const int v = static_cast<int>(threadIdx.x) / kChunks;
    const int chunk = static_cast<int>(threadIdx.x) % kChunks;
    const bool valid = v < block.count && chunk < args.kv.dim / 8;
    to = v < kNarrowVectors ? shared.queries + v * S::kLine + chunk * 8 : nullptr;
    bytes = valid ? 16 : 0;
    from = static_cast<const uint16_t*>(args.queries) +
           (valid ? vector_element(args, block.view, block.begin + v) + chunk * 8 : 0);
  }
  __device__ void start() const {
    if (to != nullptr) copy_async(shared_address(to), from, bytes);
  }
};

// The first round and the queries, by all threads. Cached keys are there before the kernel in front
// ends; queries and keys in flight are not.
template <class S>
__device__ inline void load_first_round(const AttentionArgs& args, const NarrowBlock& block,
                                        const Round<S>& round, int32_t end,
                                        NarrowShared<S>& shared) {
  const QueryCopy<S> query(args, block, shared);
  const int thread = static_cast<int>(threadIdx.x), count = round.count(end);
  bool waited = false;
#pragma unroll 1
  for (int t = 0; t < count; ++t) {
    if (!waited && round.of(t) + S::kKeys > block.view.context)
      wait_for_kernel_before(), waited = true;
    load_keys<S, kNarrowThreads>(args, shared.places[0], t, thread, shared);
    load_values<S, kNarrowThreads>(args, shared.places[0], t, thread, shared);
  }
  if (!waited) wait_for_kernel_before();
  query.start();
  commit_copies();
}

}  // namespace diffulex::cuda
