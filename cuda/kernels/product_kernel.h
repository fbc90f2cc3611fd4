// The kernel behind product.h. A block computes tiles of kProductColumns * groups columns of y for
// `tokens` rows: one warp feeds a ring of stages in shared memory, each of the other warpgroups
// multiplies its 64 rows of w (as the first factor: there are many of them) by all rows of x. The
// blocks of a cluster work on neighbouring columns; each reads a part of x for all of them.
#pragma once

#include <algorithm>

#include "cuda/kernels/launch.h"
#include "cuda/kernels/product.h"
#include "cuda/kernels/wgmma.h"
#include "cuda/tensor_map.h"

namespace diffulex::cuda {

// boxes: of kBoxColumns columns in a stage.
template <int groups, int tokens, int boxes, int stages, int cluster>
struct ProductShape {
  static constexpr int kGroups = groups, kTokens = tokens, kBoxes = boxes, kStages = stages,
                       kCluster = cluster;
  static constexpr int kThreads = groups * 128 + 32;
  static constexpr int kWeightBox = kProductColumns * 128, kInputBox = tokens * 128;  // bytes
  static constexpr int kStageBytes = boxes * (groups * kWeightBox + kInputBox);
  static_assert(tokens % (8 * cluster) == 0);
};

template <class S>
struct ProductShared {
  uint8_t weights[S::kStages][S::kBoxes][S::kGroups][S::kWeightBox];  // aligned to 1024 bytes
  uint8_t inputs[S::kStages][S::kBoxes][S::kInputBox];
  Barrier full[S::kStages], empty[S::kStages];
};

// A part of the product: columns of y, rows of x, boxes of k.
struct ProductTile {
  int column;
  int row;
  int begin, end;
  int split;
};

template <class S>
__host__ __device__ inline int row_tiles(const ProductArgs& args) {
  return (args.rows + S::kTokens - 1) / S::kTokens;
}

// The boxes of k that blockIdx.y's part of the sum has.
struct ProductPart {
  int begin, end, split;
};
__device__ inline ProductPart product_part(const ProductArgs& args) {
  const int pairs = args.k / kBoxColumns / 2, split = static_cast<int>(blockIdx.y);
  return {pairs * split / args.splits * 2, pairs * (split + 1) / args.splits * 2, split};
}

// Tiles of rows that share their columns' weights while these are near; more rows than that would
// push one another out of the L2 cache.
inline constexpr int kBand = 8;

// Neighbours have the same rows and belong to one cluster, then come the other rows of a band for
// the same columns, then the next columns, then the next band. Shapes of few rows have all of them
// in one tile.
template <class S>
__device__ inline ProductTile product_tile(const ProductArgs& args, int tiles, int tile) {
  const ProductPart part = product_part(args);
  constexpr int kWidth = S::kGroups * kProductColumns;
  if constexpr (S::kTokens <= kOneTileRows) {
    static_assert(S::kCluster == 1);
    return {tile * kWidth, 0, part.begin, part.end, part.split};
  }
  const int rows = row_tiles<S>(args), columns = tiles / (rows * S::kCluster);
  const int cluster = tile / S::kCluster, band = cluster / (columns * kBand) * kBand;
  const int in_band = cluster - columns * band, high = min(kBand, rows - band);
  const int group = in_band / high * S::kCluster + tile % S::kCluster;
  return {group * kWidth, (band + in_band % high) * S::kTokens, part.begin, part.end, part.split};
}

// The feeding thread's ring: stage, and which turn of the ring it is.
struct RingPlace {
  int stage = 0;
  uint32_t turn = 0;
  template <class S>
  __device__ void next() {
    if (++stage == S::kStages) stage = 0, turn ^= 1;
  }
};

template <class S, bool kHalves>
__device__ inline void load_weights(const ProductArgs& args, const ProductTile& tile, int box,
                                    ProductShared<S>& shared, int stage, uint64_t hint) {
#pragma unroll
  for (int i = 0; i < S::kBoxes; ++i)
#pragma unroll
    for (int g = 0; g < S::kGroups; ++g) {
      const int column = tile.column + g * kProductColumns, k = (box + i) * kBoxColumns;
      uint8_t* const to = shared.weights[stage][i][g];
      if (kHalves)
        copy_box4(to, &args.w, shared.full[stage], k, column / 16, hint);
      else
        copy_box(to, &args.w, shared.full[stage], k, column, hint);
    }
}

template <class S>
__device__ inline void load_inputs(const ProductArgs& args, const ProductTile& tile, int box,
                                   ProductShared<S>& shared, int stage) {
  constexpr int kRows = S::kTokens / S::kCluster;
  const int part = S::kCluster > 1 ? static_cast<int>(cluster_rank()) * kRows : 0;
#pragma unroll
  for (int i = 0; i < S::kBoxes; ++i) {
    uint8_t* const to = shared.inputs[stage][i] + part * 128;
    const int k = (box + i) * kBoxColumns, row = tile.row + part;
    if (S::kCluster > 1)
      copy_box_to_all(to, &args.x, shared.full[stage], k, row, (1 << S::kCluster) - 1, kReadOften);
    else
      copy_box(to, &args.x, shared.full[stage], k, row, kReadOften);
  }
}

// What the step says does not change while its kernels run.
__device__ inline int rows_there(const ProductArgs& args) {
  return args.count != nullptr ? min(args.rows, *args.count - args.first) : args.rows;
}

// The first tile's weights are on their way before its rows are there.
template <class S, bool kHalves>
__device__ inline int feed_early(const ProductArgs& args, const ProductTile& tile,
                                 ProductShared<S>& shared, RingPlace& place) {
  const uint64_t hint = args.rows <= S::kTokens ? kReadOnce : kReadOften;
  const int ahead = min(tile.end, tile.begin + S::kStages * S::kBoxes);
  for (int box = tile.begin; box < ahead; box += S::kBoxes, place.next<S>()) {
    expect_bytes(shared.full[place.stage], S::kStageBytes);
    load_weights<S, kHalves>(args, tile, box, shared, place.stage, hint);
  }
  wait_for_kernel_before();
  for (int box = tile.begin, stage = 0; box < ahead; box += S::kBoxes, ++stage)
    load_inputs(args, tile, box, shared, stage);
  return ahead;
}

// tiles: of all blocks; this one takes every gridDim.x-th.
template <class S, bool kHalves>
__device__ inline void feed(const ProductArgs& args, int tiles, ProductShared<S>& shared) {
  const uint64_t hint = args.rows <= S::kTokens ? kReadOnce : kReadOften;
  const int rows = rows_there(args);
  bool early = true;
  RingPlace place;
  for (int t = static_cast<int>(blockIdx.x); t < tiles; t += static_cast<int>(gridDim.x)) {
    const ProductTile tile = product_tile<S>(args, tiles, t);
    if (tile.row >= rows) continue;
    int box = tile.begin;
    if (early) box = feed_early<S, kHalves>(args, tile, shared, place), early = false;
    for (; box < tile.end; box += S::kBoxes, place.next<S>()) {
      wait_barrier(shared.empty[place.stage], place.turn ^ 1);
      expect_bytes(shared.full[place.stage], S::kStageBytes);
      load_weights<S, kHalves>(args, tile, box, shared, place.stage, hint);
      load_inputs(args, tile, box, shared, place.stage);
    }
  }
  if (early) wait_for_kernel_before();
}

template <class S>
using ProductSums = float[S::kTokens / 2];

template <class S>
__device__ inline void release(ProductShared<S>& shared, int stage) {
  if (threadIdx.x % 32 >= S::kCluster) return;
  if (S::kCluster > 1)
    arrive_at(shared.empty[stage], threadIdx.x % 32);
  else
    arrive(shared.empty[stage]);
}

template <class S>
__device__ inline void multiply(ProductSums<S>& sums, const ProductTile& tile, int group,
                                ProductShared<S>& shared, RingPlace& place) {
#pragma unroll
  for (int i = 0; i < S::kTokens / 2; ++i) sums[i] = 0;
  int before = -1;
  for (int box = tile.begin; box < tile.end; box += S::kBoxes, place.next<S>()) {
    wait_barrier(shared.full[place.stage], place.turn);
    begin_products();
#pragma unroll
    for (int i = 0; i < S::kBoxes; ++i) {
      const uint64_t w = matrix_descriptor(shared.weights[place.stage][i][group]);
      const uint64_t x = matrix_descriptor(shared.inputs[place.stage][i]);
#pragma unroll
      for (int k = 0; k < kBoxColumns / 16; ++k)  // 32 bytes of a line each
        multiply_group(sums, w + static_cast<uint64_t>(k) * 2, x + static_cast<uint64_t>(k) * 2);
    }
    commit_products();
    wait_products<1>();
    if (before >= 0) release(shared, before);
    before = place.stage;
  }
  wait_products<0>();
  release(shared, before);
}

// Epilogue: a struct with kHalves (of w), kBytes<S> (of shared memory for a warpgroup),
// begin<S>(tile), which may read the step, and finish<S>(sums, what begin gave, args, tile, group,
// memory).
struct Nothing {};

// All threads of a warpgroup have come here.
__device__ inline void wait_for_group(int group) {
  asm volatile("bar.sync %0, 128;" ::"r"(group + 1) : "memory");
}

template <class S>
__device__ inline void start_ring(const ProductArgs& args, ProductShared<S>& shared) {
  if (threadIdx.x == S::kGroups * 128) {
    prefetch_map(&args.w);
    prefetch_map(&args.x);
  }
  if (threadIdx.x == 0) {
    for (int s = 0; s < S::kStages; ++s) {
      init_barrier(shared.full[s], 1);
      init_barrier(shared.empty[s], S::kGroups * 4 * S::kCluster);
    }
    publish_barriers();
  }
  if (S::kCluster > 1)
    sync_cluster();
  else
    __syncthreads();
}

template <class S, class Epilogue>
__global__ void __launch_bounds__(S::kThreads)
    product_kernel(const __grid_constant__ ProductArgs args, const int tiles,
                   const Epilogue epilogue) {
  extern __shared__ uint8_t memory[];
  const uint32_t skew = (1024 - shared_address(memory) % 1024) % 1024;
  auto& shared = *reinterpret_cast<ProductShared<S>*>(memory + skew);
  const int group = static_cast<int>(threadIdx.x) / 128;
  start_ring(args, shared);
  let_next_kernel_begin();
  if (group == S::kGroups) {
    if (threadIdx.x % 32 == 0) feed<S, Epilogue::kHalves>(args, tiles, shared);
  } else {
    uint8_t* const after = reinterpret_cast<uint8_t*>(&shared + 1) +
                           static_cast<size_t>(group) * Epilogue::template kBytes<S>;
    const int rows = rows_there(args);
    RingPlace place;
    for (int t = static_cast<int>(blockIdx.x); t < tiles; t += static_cast<int>(gridDim.x)) {
      const ProductTile tile = product_tile<S>(args, tiles, t);
      if (tile.row >= rows) continue;
      const auto before = epilogue.template begin<S>(tile);
      ProductSums<S> sums;
      multiply<S>(sums, tile, group, shared, place);
      epilogue.template finish<S>(sums, before, args, tile, group, after);
    }
  }
  // Nobody leaves while others may still arrive at its barriers.
  if (S::kCluster > 1) {
    __syncwarp();
    sync_cluster();
  }
}

inline constexpr size_t kHalfShared = 113 * 1024;  // two blocks fit in a multiprocessor

// Blocks that take tile after tile, so that a tile's epilogue hides behind the next one's loads: as
// many as there is room for. Where few tiles share a multiprocessor, each has a block of its own:
// whichever ends first makes room.
template <class S>
int staying_blocks(const ProductArgs& args, int tiles, size_t bytes) {
  if (bytes > kHalfShared) return std::min(tiles, args.multiprocessors / S::kCluster * S::kCluster);
  const int room = 2 * args.multiprocessors;
  return tiles >= 4 * room ? room : tiles;
}

template <class S, class Epilogue>
int launch_shape(const ProductArgs& args, const Epilogue& epilogue, cudaStream_t stream) {
  constexpr size_t kBytes =
      1024 + sizeof(ProductShared<S>) + S::kGroups * Epilogue::template kBytes<S>;
  static_assert(kBytes <= 227 * 1024);
  const auto kernel = product_kernel<S, Epilogue>;
  const cudaError_t error = cudaFuncSetAttribute(
      kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(kBytes));
  if (error != cudaSuccess) return static_cast<int>(error);
  const int columns = Epilogue::kHalves ? 2 * args.n : args.n;
  const int per_cluster = kProductColumns * S::kGroups * S::kCluster;
  const int clusters = (columns + per_cluster - 1) / per_cluster;
  const int tiles = clusters * S::kCluster * row_tiles<S>(args);
  const dim3 blocks(static_cast<unsigned>(staying_blocks<S>(args, tiles, kBytes)),
                    static_cast<unsigned>(args.splits));
  return launch(kernel, {blocks, S::kThreads, kBytes, S::kCluster}, stream, args, tiles, epilogue);
}

inline bool is_computable(const ProductArgs& args) {
  return args.k % (2 * kBoxColumns) == 0 && args.splits >= 1 && args.splits <= kMaxSplits;
}

// The shapes there are; product_box_rows() agrees with them. Parts of k are cut between pairs of
// boxes, so every shape sums in the same order.
template <class Epilogue>
int launch_few_rows(const ProductArgs& args, const Epilogue& epilogue, cudaStream_t stream) {
  if (args.rows <= 16) return launch_shape<ProductShape<1, 16, 2, 5, 1>>(args, epilogue, stream);
  if (args.rows <= 32) return launch_shape<ProductShape<1, 32, 2, 4, 1>>(args, epilogue, stream);
  if (args.rows <= 64) return launch_shape<ProductShape<1, 64, 2, 3, 1>>(args, epilogue, stream);
  return launch_shape<ProductShape<2, kOneTileRows, 1, 6, 1>>(args, epilogue, stream);
}

template <class Epilogue>
int launch_epilogue(const ProductArgs& args, const Epilogue& epilogue, cudaStream_t stream) {
  if (args.rows == 0) return 0;
  if (!is_computable(args)) return static_cast<int>(cudaErrorInvalidValue);
  if (args.rows <= kOneTileRows) return launch_few_rows(args, epilogue, stream);
  return launch_shape<ProductShape<2, 256, 1, 4, 2>>(args, epilogue, stream);
}

}  // namespace diffulex::cuda
