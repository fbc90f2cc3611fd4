// The narrow kernel's block: its shared memory, and how queries, keys and values come into it.
#pragma once

#include "cuda/kernels/attention_parts.h"
#include "cuda/kernels/launch.h"

namespace diffulex::cuda {

inline constexpr int kNarrowVectors = 16;
inline constexpr int kRound = kWarps;          // tiles at a time
inline constexpr int kWeightLine = 64 + kPad;  // of a tile's weights, elements

template <int dim>
struct Narrow {
  static constexpr int kDim = dim, kKeys = 64;
  static constexpr int kLine = dim + kPad;       // elements
  static constexpr int kColumns = dim / kWarps;  // of the result, a warp's
};

template <class S>
struct alignas(16) NarrowShared {
  uint16_t queries[kNarrowVectors * S::kLine];
  uint16_t keys[kRound][S::kKeys * S::kLine];
  uint16_t values[kRound][S::kKeys * S::kLine];
  uint16_t weights[kRound][kNarrowVectors * kWeightLine];
  Place places[kRound][S::kKeys];
  int32_t bytes[kRound][S::kKeys];  // of every 16 that are read: none where no row sees the key
  float tops[kRound][kNarrowVectors];
  float sums[kRound][kNarrowVectors][4];  // of a lane's columns
  int2 ranges[kNarrowVectors];            // keys [x, y) that a vector sees, but for the hole
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
  int32_t at[kRound];

  __device__ Round(const ItemKeys& keys, int32_t first) {
    at[0] = first;
#pragma unroll
    for (int t = 1; t < kRound; ++t) at[t] = keys.next_tile(at[t - 1] + S::kKeys, S::kKeys);
  }
  __device__ Round next(const ItemKeys& keys) const {
    return Round(keys, keys.next_tile(at[kRound - 1] + S::kKeys, S::kKeys));
  }
  __device__ int32_t of(int t) const {  // keeps the array in registers
    int32_t found = at[0];
#pragma unroll
    for (int i = 1; i < kRound; ++i) found = i == t ? at[i] : found;
    return found;
  }
  __device__ int count(int32_t end) const {
    int n = 0;
#pragma unroll
    for (int t = 0; t < kRound; ++t) n += at[t] < end ? 1 : 0;
    return n;
  }
};

// A thread finds the places of one key in every second tile of a round. That needs entries of the
// page table, which are asked for first.
template <class S>
class RoundPlaces {
 public:
  __device__ RoundPlaces(const NarrowShared<S>& shared, Divisor page_size, const Round<S>& round) {
#pragma unroll
    for (int i = 0; i < kRound / 2; ++i) {
      const int32_t position = position_of(round, i);
      pages_[i] = shared.item.visible(position) ? find_page(shared.view, page_size, position) : 0;
    }
  }
  __device__ void write(const AttentionArgs& args, Divisor page_size, const Round<S>& round,
                        NarrowShared<S>& shared) const {
    const KeyValues& kv = args.kv;
#pragma unroll
    for (int i = 0; i < kRound / 2; ++i) {
      const int32_t position = position_of(round, i);
      const bool seen = shared.item.visible(position);
      const KeyPlace found = seen ? place_key(kv, shared.view, page_size, position, pages_[i])
                                  : KeyPlace{0, position < shared.view.context};
      const void* const keys = found.cached ? kv.page_keys : kv.flight_keys;
      const void* const values = found.cached ? kv.page_values : kv.flight_values;
      const int tile = 2 * i + (upper() ? 1 : 0);
      shared.places[tile][key()] = {static_cast<const uint16_t*>(keys) + found.element,
                                    static_cast<const uint16_t*>(values) + found.element};
      shared.bytes[tile][key()] = seen ? 16 : 0;
    }
  }

 private:
  static_assert(kThreads == 2 * S::kKeys);
  __device__ static bool upper() { return threadIdx.x >= S::kKeys; }
  __device__ static int key() { return static_cast<int>(threadIdx.x) % S::kKeys; }
  __device__ static int32_t position_of(const Round<S>& round, int i) {
    return (upper() ? round.at[2 * i + 1] : round.at[2 * i]) + key();
  }

  int32_t pages_[kRound / 2];
};

// Copies the lines of a tile to shared memory. Columns behind the head's dims become zeros: they
// are multiplied all the same.
template <class S, const uint16_t* Place::*from>
__device__ inline void load_lines(const AttentionArgs& args, const NarrowShared<S>& shared,
                                  int tile, uint16_t* lines) {
  constexpr int kChunks = S::kDim / 8, kStep = kThreads / kChunks, kCopies = S::kKeys / kStep;
  const int chunk = static_cast<int>(threadIdx.x) % kChunks * 8;
  const int line = static_cast<int>(threadIdx.x) / kChunks;
  const uint32_t to = shared_address(lines + line * S::kLine + chunk);
  const uint16_t* places[kCopies];
  int bytes[kCopies];
#pragma unroll
  for (int i = 0; i < kCopies; ++i) {
    places[i] = shared.places[tile][line + i * kStep].*from;
    bytes[i] = chunk < args.kv.dim ? shared.bytes[tile][line + i * kStep] : 0;
  }
#pragma unroll
  for (int i = 0; i < kCopies; ++i)
    copy_async(to + static_cast<uint32_t>(i * kStep * S::kLine) * 2, places[i] + chunk, bytes[i]);
}

template <class S>
__device__ inline void load_keys(const AttentionArgs& args, int tile, NarrowShared<S>& shared) {
  load_lines<S, &Place::key>(args, shared, tile, shared.keys[tile]);
}
template <class S>
__device__ inline void load_values(const AttentionArgs& args, int tile, NarrowShared<S>& shared) {
  load_lines<S, &Place::value>(args, shared, tile, shared.values[tile]);
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
  __device__ void start(NarrowShared<S>& shared) const {
    const int chunk = static_cast<int>(threadIdx.x) % kChunks;
#pragma unroll
    for (int i = 0; i < kCopies; ++i)
      copy_async(shared_address(shared.queries + vector(i) * S::kLine + chunk * 8), from[i],
                 bytes[i]);
  }
};

// The first round and the queries. Cached keys are there before the kernel in front ends; queries
// and keys in flight are not.
template <class S>
__device__ inline void load_first_round(const AttentionArgs& args, const NarrowBlock& block,
                                        const Round<S>& round, int32_t end,
                                        NarrowShared<S>& shared) {
  const QueryCopies<S> queries(args, block);
  bool waited = false;
  const int count = round.count(end);
#pragma unroll 1
  for (int t = 0; t < count; ++t) {
    if (!waited && round.of(t) + S::kKeys > block.view.context)
      wait_for_kernel_before(), waited = true;
    load_keys(args, t, shared);
    load_values(args, t, shared);
  }
  if (!waited) wait_for_kernel_before();
  queries.start(shared);
  commit_copies();
}

template <class S>
__device__ inline void load_round_keys(const AttentionArgs& args, int count,
                                       NarrowShared<S>& shared) {
#pragma unroll 1
  for (int t = 0; t < count; ++t) load_keys(args, t, shared);
  commit_copies();
}

template <class S>
__device__ inline void load_round_values(const AttentionArgs& args, int count,
                                         NarrowShared<S>& shared) {
#pragma unroll 1
  for (int t = 0; t < count; ++t) load_values(args, t, shared);
  commit_copies();
}

}  // namespace diffulex::cuda
