// The product of gate and up for many rows, activated and stored behind the next tile's.
#include <cuda_bf16.h>

#include "cuda/kernels/element.h"
#include "cuda/kernels/product_many.h"

namespace diffulex::cuda {
namespace {

constexpr int kColumns = kProductColumns / 2;               // of y, a warpgroup's
constexpr int kLineBytes = kColumns * 2;                    // of a row
constexpr int kEights = ManyShape::kGroups * kColumns / 8;  // 8 columns each, of a row of the tile

// Where 8 columns of a row are. Its quarters change places so that those of 8 rows, which are
// written together, fill all banks.
__device__ inline int place(int row, int eight) {
  return row * kLineBytes + (eight ^ row / 2 % 4) * 16;
}

__device__ inline uint32_t activated_pair(uint32_t gate, uint32_t up) {
  const float2 g = __bfloat1622float2(reinterpret_cast<const __nv_bfloat162&>(gate));
  const float2 u = __bfloat1622float2(reinterpret_cast<const __nv_bfloat162&>(up));
  return pack_bf16(activated(g.x, u.x), activated(g.y, u.y));
}

struct ActivateAndStore {
  static constexpr bool kHalves = true;
  struct Memory {  // a warpgroup's columns of gate and of up; see place()
    uint8_t gate[ManyShape::kGroups][ManyShape::kTokens * kLineBytes];
    uint8_t up[ManyShape::kGroups][ManyShape::kTokens * kLineBytes];
  };
  __nv_bfloat16* y;

  // map_halves() puts 8 rows of gate before the 8 of up that belong to them, so a thread has both.
  // A warp's 8 columns of 8 rows are a matrix across its lanes, stored transposed, four at a time.
  __device__ static void put_down(const ManySums& sums, int group, Memory& memory) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    const int warp = static_cast<int>(threadIdx.x) / 32 % 4;
    const auto at = static_cast<uint32_t>(place(lane, warp));
    const uint32_t gate = shared_address(memory.gate[group]) + at;
    const uint32_t up = shared_address(memory.up[group]) + at;
#pragma unroll
    for (int i = 0; i < ManyShape::kTokens / 8; i += 4) {
      uint32_t gates[4], ups[4];
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const float* const s = &sums[4 * (i + j)];
        gates[j] = pack_bf16(s[0], s[1]);
        ups[j] = pack_bf16(s[2], s[3]);
      }
      const uint32_t lines = static_cast<uint32_t>(i) * 8 * kLineBytes;
      store_transposed(gate + lines, gates);
      store_transposed(up + lines, ups);
    }
  }

  __device__ void begin(const ProductArgs&, const ProductTile&, int, Memory&) const {}

  __device__ void finish(const ProductArgs& args, const ProductTile& tile, int thread,
                         const Memory& memory) const {
#pragma unroll 2
    for (int i = thread; i < ManyShape::kTokens * kEights; i += kFinishingThreads) {
      const int in_tile = i / kEights, group = i % kEights / (kColumns / 8);
      const int from = place(in_tile, i % (kColumns / 8));
      const int row = tile.row + in_tile, column = tile.column / 2 + i % kEights * 8;
      const uint4 g = *reinterpret_cast<const uint4*>(memory.gate[group] + from);
      const uint4 u = *reinterpret_cast<const uint4*>(memory.up[group] + from);
      if (row < args.rows && column < args.n)
        *reinterpret_cast<uint4*>(y + static_cast<int64_t>(row) * args.n + column) = {
            activated_pair(g.x, u.x), activated_pair(g.y, u.y), activated_pair(g.z, u.z),
            activated_pair(g.w, u.w)};
    }
  }
};

}  // namespace

bool activated_fills(const ProductArgs& args) { return ManyGrid(args, 2 * args.n).fills(args); }

int launch_activated_many(const ProductArgs& args, void* y, cudaStream_t stream) {
  if (!is_computable(args)) return static_cast<int>(cudaErrorInvalidValue);
  return launch_many(args, 2 * args.n, ActivateAndStore{static_cast<__nv_bfloat16*>(y)}, stream);
}

}  // namespace diffulex::cuda
