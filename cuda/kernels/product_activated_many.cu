// The product of gate and up for many rows. Two warpgroups multiply; what they have is put down,
// rounded, in shared memory, where the warps beside the feeding one activate and store it while the
// next tile is multiplied. Without that every tile of K = 2048 would end with a third of its time
// in which no product runs.
#include <cuda_bf16.h>

#include "cuda/kernels/element.h"
#include "cuda/kernels/product_kernel.h"

namespace diffulex::cuda {
namespace {

using Shape = ProductShape<2, 256, 1, 3, 2>;
constexpr int kThreads = Shape::kGroups * 128 + 128;  // the last warpgroup feeds and stores
constexpr int kStoringWarps = 3;
constexpr int kMultiplyingWarps = Shape::kGroups * 4;
constexpr int kColumns = kProductColumns / 2;           // of y, a warpgroup's
constexpr int kLineBytes = kColumns * 2;                // of a row
constexpr int kEights = Shape::kGroups * kColumns / 8;  // 8 columns each, of a row of the tile

struct Shared {
  ProductShared<Shape> ring;
  // Lines of a warpgroup's columns of gate and of up; see place().
  alignas(128) uint8_t gate[Shape::kGroups][Shape::kTokens * kLineBytes];
  uint8_t up[Shape::kGroups][Shape::kTokens * kLineBytes];
  Barrier put_down, stored;
};
constexpr size_t kSharedBytes = 1024 + sizeof(Shared);
static_assert(kSharedBytes <= 227 * 1024);

// Where 8 columns of a row are. Its quarters change places so that those of 8 rows, which are
// written together, fill all banks.
__device__ inline int place(int row, int eight) {
  return row * kLineBytes + (eight ^ row / 2 % 4) * 16;
}

// map_halves() puts 8 rows of gate before the 8 of up that belong to them, so a thread has both. A
// warp's 8 columns of 8 rows are a matrix across its lanes, stored transposed, four at a time.
__device__ inline void put_down(const ProductSums<Shape>& sums, uint8_t* gate, uint8_t* up) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int warp = static_cast<int>(threadIdx.x) / 32 % 4;
  const uint32_t at = static_cast<uint32_t>(place(lane, warp));
#pragma unroll
  for (int i = 0; i < Shape::kTokens / 8; i += 4) {
    uint32_t gates[4], ups[4];
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const float* const s = &sums[4 * (i + j)];
      gates[j] = pack_bf16(s[0], s[1]);
      ups[j] = pack_bf16(s[2], s[3]);
    }
    const uint32_t lines = at + static_cast<uint32_t>(i) * 8 * kLineBytes;
    store_transposed(shared_address(gate) + lines, gates);
    store_transposed(shared_address(up) + lines, ups);
  }
}

__device__ inline uint32_t activated_pair(uint32_t gate, uint32_t up) {
  const float2 g = __bfloat1622float2(reinterpret_cast<const __nv_bfloat162&>(gate));
  const float2 u = __bfloat1622float2(reinterpret_cast<const __nv_bfloat162&>(up));
  return pack_bf16(activated(g.x, u.x), activated(g.y, u.y));
}

__device__ inline void activate_and_store(const Shared& shared, const ProductArgs& args,
                                          const ProductTile& tile, int thread, __nv_bfloat16* y) {
#pragma unroll 2
  for (int i = thread; i < Shape::kTokens * kEights; i += kStoringWarps * 32) {
    const int in_tile = i / kEights, group = i % kEights / (kColumns / 8);
    const int from = place(in_tile, i % (kColumns / 8));
    const int row = tile.row + in_tile, column = tile.column / 2 + i % kEights * 8;
    const uint4 g = *reinterpret_cast<const uint4*>(shared.gate[group] + from);
    const uint4 u = *reinterpret_cast<const uint4*>(shared.up[group] + from);
    if (row < args.rows && column < args.n)
      *reinterpret_cast<uint4*>(y + static_cast<int64_t>(row) * args.n + column) = {
          activated_pair(g.x, u.x), activated_pair(g.y, u.y), activated_pair(g.z, u.z),
          activated_pair(g.w, u.w)};
  }
}

// The block's tiles in order, with the turn of the memory between its two sides.
template <class Fn>
__device__ inline void for_each_tile(const ProductArgs& args, int tiles, Fn&& fn) {
  uint32_t turn = 0;
  for (int t = static_cast<int>(blockIdx.x); t < tiles; t += static_cast<int>(gridDim.x)) {
    const ProductTile tile = product_tile<Shape>(args, tiles, t);
    if (tile.row >= args.rows) continue;
    fn(tile, turn);
    turn ^= 1;
  }
}

__device__ inline void arrive_as_warp(Barrier& b) {
  __syncwarp();
  if (threadIdx.x % 32 == 0) arrive(b);
}

__global__ void __launch_bounds__(kThreads, 1)
    activated_many_kernel(const __grid_constant__ ProductArgs args, const int tiles,
                          __nv_bfloat16* const y) {
  extern __shared__ uint8_t memory[];
  const uint32_t skew = (1024 - shared_address(memory) % 1024) % 1024;
  auto& shared = *reinterpret_cast<Shared*>(memory + skew);
  if (threadIdx.x == 0) {
    init_barrier(shared.put_down, kMultiplyingWarps);
    init_barrier(shared.stored, kStoringWarps);
  }
  start_ring(args, shared.ring);
  let_next_kernel_begin();
  const int group = static_cast<int>(threadIdx.x) / 128;
  if (group == Shape::kGroups) {
    take_registers<40, false>();
    const int thread = static_cast<int>(threadIdx.x) % 128 - 32;
    if (thread < 0) {
      if (thread == -32) feed<Shape, true>(args, tiles, shared.ring);
    } else {
      for_each_tile(args, tiles, [&](const ProductTile& tile, uint32_t turn) {
        wait_barrier(shared.put_down, turn);
        activate_and_store(shared, args, tile, thread, y);
        arrive_as_warp(shared.stored);
      });
    }
  } else {
    take_registers<232, true>();
    RingPlace place;
    for_each_tile(args, tiles, [&](const ProductTile& tile, uint32_t turn) {
      ProductSums<Shape> sums;
      multiply<Shape>(sums, tile, group, shared.ring, place);
      wait_barrier(shared.stored, turn ^ 1);
      put_down(sums, shared.gate[group], shared.up[group]);
      arrive_as_warp(shared.put_down);
    });
  }
  // Nobody leaves while others may still arrive at its barriers.
  __syncwarp();
  sync_cluster();
}

int tile_count(const ProductArgs& args) {
  const int per_cluster = kProductColumns * Shape::kGroups * Shape::kCluster;
  return (2 * args.n + per_cluster - 1) / per_cluster * Shape::kCluster * row_tiles<Shape>(args);
}

int block_count(const ProductArgs& args) {
  return std::min(tile_count(args), args.multiprocessors / Shape::kCluster * Shape::kCluster);
}

}  // namespace

bool activated_fills(const ProductArgs& args) {
  const int blocks = block_count(args), tiles = tile_count(args);
  const int turns = (tiles + blocks - 1) / blocks;
  return args.rows > kOneTileRows && tiles * 10 >= turns * args.multiprocessors * 9;
}

int launch_activated_many(const ProductArgs& args, void* y, cudaStream_t stream) {
  if (!is_computable(args)) return static_cast<int>(cudaErrorInvalidValue);
  const cudaError_t error =
      cudaFuncSetAttribute(activated_many_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                           static_cast<int>(kSharedBytes));
  if (error != cudaSuccess) return static_cast<int>(error);
  return launch(
      activated_many_kernel,
      {dim3(static_cast<unsigned>(block_count(args))), kThreads, kSharedBytes, Shape::kCluster},
      stream, args, tile_count(args), static_cast<__nv_bfloat16*>(y));
}

}  // namespace diffulex::cuda
