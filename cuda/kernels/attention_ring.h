// The warpgroup kernel's block: two computing warpgroups and a loading one, which goes ahead of
// them through rings in shared memory: of what there is to do, and of tiles of keys and values.
#pragma once

#include "cuda/kernels/attention_parts.h"
#include "cuda/kernels/hopper.h"

namespace diffulex::cuda {

inline constexpr int kComputingWarps = 8, kLoadingWarps = 4;
inline constexpr int kRingThreads = (kComputingWarps + kLoadingWarps) * 32;
// Registers of a thread; together those that a block begins with, 168 a thread.
inline constexpr int kComputingRegisters = 216, kLoadingRegisters = 72;

// dim: of a head, rounded up to whole columns of 64. A warp has 16 vectors.
template <int dim>
struct RingShape {
  static constexpr int kDim = dim, kOut = dim, kTiles = 1, kKeys = 64;
  static constexpr int kComputing = kComputingWarps * 32;
  static constexpr int kVectors = kComputingWarps * 16;
  static constexpr int kLine = dim + kPad;     // of queries, elements
  static constexpr int kColumn = kKeys * 128;  // bytes; 64 elements of every key, swizzled
  static constexpr int kTileBytes = dim / 64 * kColumn;
  static constexpr int kStages = 5, kJobs = 2 * kLoadingWarps;
};

// The vectors [begin, begin + count) of an item; none where the item has no more.
struct RingJob {
  ItemView view;
  ItemKeys item;  // of these vectors
  int32_t begin, count;
  int2 ranges[kComputingWarps * 16];  // keys [x, y) that a vector sees, but for the hole
};

// full: written, tiles by copies that each loading thread has begun; empty: may be written again.
// Queries are full with the first tile of their job. What threads themselves read or write every
// one of them arrives for; what products read, a warp.
template <class S>
struct RingShared {
  alignas(1024) uint8_t keys[S::kStages][S::kTileBytes];
  alignas(1024) uint8_t values[S::kStages][S::kTileBytes];
  alignas(16) uint16_t queries[S::kVectors * S::kLine];
  RingJob jobs[S::kJobs];
  Barrier full[S::kStages], empty[S::kStages];
  Barrier job_full[S::kJobs], job_empty[S::kJobs];
  Barrier queries_empty;
};

// A place in a ring, and in which turn. Waiting for `empty` in the turn before the first passes.
template <int kPlaces>
struct RingTurn {
  int place = 0;
  uint32_t parity = 0;

  __device__ void next() {
    if (++place == kPlaces) place = 0, parity ^= 1;
  }
};

struct RingGrid {
  int chunks;  // of an item
  int blocks;  // of work; a block of the launch takes every gridDim.x-th
  Divisor page_size, group;

  // Jobs of this block.
  __device__ int jobs() const {
    const auto first = static_cast<int>(blockIdx.x), step = static_cast<int>(gridDim.x);
    return (blocks - first + step - 1) / step;
  }
};

template <class S>
__device__ inline int32_t first_tile(const ItemKeys& keys) {
  return keys.next_tile(keys.begin / S::kKeys * S::kKeys, S::kKeys);
}

template <class S>
__device__ inline int32_t tile_behind(const ItemKeys& keys, int32_t at) {
  return keys.next_tile(at + S::kKeys, S::kKeys);
}

template <class S>
__device__ inline void start_rings(RingShared<S>& shared) {
  if (threadIdx.x == 0) {
    for (int i = 0; i < S::kStages; ++i) {
      init_barrier(shared.full[i], kLoadingWarps * 32);
      init_barrier(shared.empty[i], kComputingWarps);
    }
    for (int i = 0; i < S::kJobs; ++i) {
      init_barrier(shared.job_full[i], 32);
      init_barrier(shared.job_empty[i], S::kComputing);
    }
    init_barrier(shared.queries_empty, S::kComputing);
  }
  __syncthreads();
}

}  // namespace diffulex::cuda
