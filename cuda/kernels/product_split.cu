// The product whose parts of k are added by its reader, and what all products share.
#include "cuda/kernels/product_kernel.h"

namespace diffulex::cuda {
namespace {

struct StoreParts {
  static constexpr bool kHalves = false;
  template <class S>
  static constexpr size_t kBytes = 0;
  float* y;

  template <class S>
  __device__ Nothing begin(const ProductTile&) const {
    return {};
  }
  template <class S>
  __device__ void finish(const ProductSums<S>& sums, Nothing, const ProductArgs& args,
                         const ProductTile& tile, int group, uint8_t*) const {
    const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
    const int column = tile.column + group * kProductColumns + warp % 4 * 16 + lane / 4;
    float* const to = y + static_cast<int64_t>(tile.split) * args.rows * args.n;
#pragma unroll
    for (int i = 0; i < S::kTokens / 2; ++i) {
      const int row = tile.row + i / 4 * 8 + lane % 4 * 2 + i % 2;
      const int at = column + i / 2 % 2 * 8;
      if (row < args.rows && at < args.n) to[static_cast<int64_t>(row) * args.n + at] = sums[i];
    }
  }
};

// Parts of k so short that they never fill a ring leave its memory to other kernels' blocks.
int launch_short(const ProductArgs& args, const StoreParts& epilogue, cudaStream_t stream) {
  if (args.rows <= 16) return launch_shape<ProductShape<1, 16, 2, 2, 1>>(args, epilogue, stream);
  if (args.rows <= 32) return launch_shape<ProductShape<1, 32, 2, 2, 1>>(args, epilogue, stream);
  return launch_shape<ProductShape<1, 64, 2, 2, 1>>(args, epilogue, stream);
}

}  // namespace

// Two blocks for every multiprocessor, no more than that takes.
int product_splits(int64_t n, int64_t k, int multiprocessors) {
  const int64_t tiles = (n + kProductColumns - 1) / kProductColumns;
  int splits = 1;
  while (splits < kMaxSplits && tiles * splits * 10 < int64_t{multiprocessors} * 18 &&
         k / (2 * kBoxColumns) >= 2 * (splits + 1))
    ++splits;
  return splits;
}

int product_box_rows(int rows) { return rows <= 16 ? 16 : rows <= 32 ? 32 : rows <= 64 ? 64 : 128; }

int launch_product(const ProductArgs& args, float* y, cudaStream_t stream) {
  const StoreParts epilogue{y};
  const bool is_short = args.splits > 0 && args.k <= 4 * kBoxColumns * args.splits;
  if (is_short && args.rows > 0 && args.rows <= 64 && is_computable(args))
    return launch_short(args, epilogue, stream);
  return launch_epilogue(args, epilogue, stream);
}

}  // namespace diffulex::cuda
