// The product of gate and up, activated where it is computed.
#include <cuda_bf16.h>

#include "cuda/kernels/product_kernel.h"

namespace diffulex::cuda {
namespace {

// map_halves() puts 8 rows of gate before the 8 of up that belong to them: both are in one thread.
struct StoreActivated {
  static constexpr bool kHalves = true;
  static constexpr size_t kBytes = 0;
  __nv_bfloat16* y;

  template <class S>
  __device__ Nothing begin(const ProductTile&) const {
    return {};
  }
  template <class S>
  __device__ void finish(const ProductSums<S>& sums, Nothing, const ProductArgs& args,
                         const ProductTile& tile, int group, uint8_t*) const {
    const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
    const int column = (tile.column + group * kProductColumns) / 2 + warp % 4 * 8 + lane / 4;
    if (column >= args.n) return;
#pragma unroll
    for (int p = 0; p < S::kParts; ++p)
#pragma unroll
      for (int i = 0; i < S::kPart / 2; i += 4)
#pragma unroll
        for (int e = 0; e < 2; ++e) {
          const int row = tile.row + p * S::kPart + i / 4 * 8 + lane % 4 * 2 + e;
          const float gate = sums[p][i + e], up = sums[p][i + 2 + e];
          if (row < args.rows)
            y[static_cast<int64_t>(row) * args.n + column] =
                __float2bfloat16(gate / (1.0f + __expf(-gate)) * up);
        }
  }
};

}  // namespace

int launch_activated_product(const ProductArgs& args, void* y, cudaStream_t stream) {
  if (args.splits != 1 || args.n % 8 != 0) return static_cast<int>(cudaErrorInvalidValue);
  return launch_epilogue(args, StoreActivated{static_cast<__nv_bfloat16*>(y)}, stream);
}

}  // namespace diffulex::cuda
