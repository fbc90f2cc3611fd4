// Products of many rows with work behind them. Two warpgroups multiply; what they have is put down,
// rounded to bf16, in shared memory, where the warps beside the feeding one do the rest while the
// next tile is multiplied. Done by the multiplying warps themselves, such work took a sixth to a
// fifth of a tile of k = 2048, in which no product ran.
#pragma once

#include "cuda/kernels/product_kernel.h"

namespace diffulex::cuda {

using ManyShape = ProductShape<2, 256, 1, 3, 2>;
using ManySums = ProductSums<ManyShape>;
inline constexpr int kManyThreads = ManyShape::kGroups * 128 + 128;  // the last 128 feed and finish
inline constexpr int kFinishingWarps = 3;
inline constexpr int kFinishingThreads = kFinishingWarps * 32;
// Registers of a thread; together those that a block begins with, 168 a thread.
inline constexpr int kMultiplyingRegisters = 200, kFinishingRegisters = 104;

// Tail: what becomes of a tile. It has kHalves (of w), a type Memory, and
//   put_down(sums, group, memory)           by the threads of a multiplying warpgroup,
//   begin(args, tile, thread, memory)       by the finishing threads, before the tile is there,
//   finish(args, tile, thread, memory)      by the same, when it is.
template <class Tail>
struct ManyShared {
  ProductShared<ManyShape> ring;
  alignas(128) typename Tail::Memory tile;
  Barrier put_down, finished;
};

// The block's tiles in order, with the turn of the memory between its two sides.
template <class Fn>
__device__ inline void for_each_tile(const ProductArgs& args, int tiles, Fn&& fn) {
  uint32_t turn = 0;
  for (int t = static_cast<int>(blockIdx.x); t < tiles; t += static_cast<int>(gridDim.x)) {
    const ProductTile tile = product_tile<ManyShape>(args, tiles, t);
    if (tile.row >= args.rows) continue;
    fn(tile, turn);
    turn ^= 1;
  }
}

// All finishing threads have come here.
__device__ inline void wait_for_finishing_threads() {
  asm volatile("bar.sync 1, %0;" ::"n"(kFinishingThreads) : "memory");
}

template <class Tail>
__device__ inline void finish_tiles(const ProductArgs& args, int tiles, int thread,
                                    const Tail& tail, ManyShared<Tail>& shared) {
  for_each_tile(args, tiles, [&](const ProductTile& tile, uint32_t turn) {
    tail.begin(args, tile, thread, shared.tile);
    wait_barrier(shared.put_down, turn);
    tail.finish(args, tile, thread, shared.tile);
    arrive_as_warp(shared.finished);
  });
}

template <class Tail>
__device__ inline void multiply_tiles(const ProductArgs& args, int tiles, int group,
                                      ManyShared<Tail>& shared) {
  RingPlace place;
  for_each_tile(args, tiles, [&](const ProductTile& tile, uint32_t turn) {
    ManySums sums;
    multiply<ManyShape>(sums, tile, group, shared.ring, place);
    wait_barrier(shared.finished, turn ^ 1);
    Tail::put_down(sums, group, shared.tile);
    arrive_as_warp(shared.put_down);
  });
}

template <class Tail>
__global__ void __launch_bounds__(kManyThreads, 1)
    product_many_kernel(const __grid_constant__ ProductArgs args, const int tiles,
                        const __grid_constant__ Tail tail) {
  extern __shared__ uint8_t memory[];
  const uint32_t skew = (1024 - shared_address(memory) % 1024) % 1024;
  auto& shared = *reinterpret_cast<ManyShared<Tail>*>(memory + skew);
  if (threadIdx.x == 0) {
    init_barrier(shared.put_down, ManyShape::kGroups * 4);
    init_barrier(shared.finished, kFinishingWarps);
  }
  start_ring(args, shared.ring);
  let_next_kernel_begin();
  const int group = static_cast<int>(threadIdx.x) / 128;
  const int thread = static_cast<int>(threadIdx.x) % 128;
  if (group < ManyShape::kGroups) {
    take_registers<kMultiplyingRegisters, true>();
    multiply_tiles(args, tiles, group, shared);
  } else {
    take_registers<kFinishingRegisters, false>();
    if (thread == 0) feed<ManyShape, Tail::kHalves>(args, tiles, shared.ring);
    if (thread >= 32) finish_tiles(args, tiles, thread - 32, tail, shared);
  }
  // Nobody leaves while others may still arrive at its barriers.
  __syncwarp();
  sync_cluster();
}

// columns: of w.
struct ManyGrid {
  int tiles, blocks;
  ManyGrid(const ProductArgs& args, int columns) {
    const int per_cluster = kProductColumns * ManyShape::kGroups * ManyShape::kCluster;
    tiles = (columns + per_cluster - 1) / per_cluster * ManyShape::kCluster *
            row_tiles<ManyShape>(args);
    blocks = std::min(tiles, args.multiprocessors / ManyShape::kCluster * ManyShape::kCluster);
  }
  // Whether the tiles come out even enough on the multiprocessors.
  bool fills(const ProductArgs& args) const {
    const int turns = (tiles + blocks - 1) / blocks;
    return args.rows > kOneTileRows && tiles * 10 >= turns * args.multiprocessors * 9;
  }
};

template <class Tail>
int launch_many(const ProductArgs& args, int columns, const Tail& tail, cudaStream_t stream) {
  constexpr size_t kBytes = 1024 + sizeof(ManyShared<Tail>);
  static_assert(kBytes <= 227 * 1024);
  const auto kernel = product_many_kernel<Tail>;
  const cudaError_t error = cudaFuncSetAttribute(
      kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(kBytes));
  if (error != cudaSuccess) return static_cast<int>(error);
  const ManyGrid grid(args, columns);
  return launch(
      kernel, {dim3(static_cast<unsigned>(grid.blocks)), kManyThreads, kBytes, ManyShape::kCluster},
      stream, args, grid.tiles, tail);
}

}  // namespace diffulex::cuda
