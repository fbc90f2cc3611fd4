// The product of gate and up, activated where it is computed: of few rows. That of many is in
// product_activated_many.cu.
#include <cuda_bf16.h>

#include "cuda/kernels/element.h"
#include "cuda/kernels/product_kernel.h"

namespace diffulex::cuda {
namespace {

// map_halves() puts 8 rows of gate before the 8 of up that belong to them: both are in one thread.
struct StoreActivated {
  static constexpr bool kHalves = true;
  template <class S>
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
    const bool odd = lane / 4 % 2 != 0;
#pragma unroll
    for (int i = 0; i < S::kTokens / 2; i += 4) {
      // Lanes of neighbouring columns trade, so that each has two columns of one row.
      const float first = activated_rounded(sums[i], sums[i + 2]);
      const float second = activated_rounded(sums[i + 1], sums[i + 3]);
      const float other = __shfl_xor_sync(~0u, odd ? first : second, 4);
      const int row = tile.row + i / 4 * 8 + lane % 4 * 2 + (odd ? 1 : 0);
      const int64_t at = static_cast<int64_t>(row) * args.n + (odd ? column - 1 : column);
      if (row < args.rows && column < args.n)
        *reinterpret_cast<__nv_bfloat162*>(y + at) =
            odd ? __floats2bfloat162_rn(other, second) : __floats2bfloat162_rn(first, other);
    }
  }
};

}  // namespace

int launch_activated_product(const ProductArgs& args, void* y, cudaStream_t stream) {
  if (args.rows == 0) return 0;
  if (args.splits != 1 || args.n % 8 != 0 || !is_computable(args))
    return static_cast<int>(cudaErrorInvalidValue);
  if (args.rows > kOneTileRows) return launch_activated_many(args, y, stream);
  return launch_few_rows(args, StoreActivated{static_cast<__nv_bfloat16*>(y)}, stream);
}

}  // namespace diffulex::cuda
