// Own matrix products for Hopper, y = x * transpose(w) in bf16 with f32 sums, where their epilogue
// or few rows make them better than a library's. w is read by the copy engine, begun before the
// kernel in front has ended; x is what that kernel writes.
//
// How the sum over k is cut depends on the matrix alone, never on the rows, so a row's result does
// not depend on what else is in the batch.
#pragma once

#include <cuda.h>
#include <cuda_runtime_api.h>

#include <cstdint>

#include "cuda/kernels/step.h"
#include "decide/select.h"

namespace diffulex::cuda {

inline constexpr int kProductColumns = 64;  // of y, that one warpgroup computes
inline constexpr int kMaxSplits = 8;
inline constexpr int kOneTileRows = 128;  // so many rows at most are in one tile

// Parts of k whose sums are added by the reader, for a matrix [n, k] on so many multiprocessors:
// what makes products of few rows fast. Each part of many rows is much to write and to read.
int product_splits(int64_t n, int64_t k, int multiprocessors);

struct ProductArgs {
  CUtensorMap w;  // boxes of kProductColumns rows
  CUtensorMap x;  // boxes of product_box_rows() rows
  int rows;       // of x and y
  int n;          // columns of y; of the activated product: of its result
  int k;          // a multiple of kBoxColumns
  int splits;
  int multiprocessors;
  // Of the device, or null: *count - first rows are there, at most `rows`; tiles behind them are
  // not computed.
  const int32_t* count = nullptr;
  int32_t first = 0;
};

// Rows of a box of x, of a product of so many rows.
int product_box_rows(int rows);

// y[s, r, i]: the part s of the sum, s < splits.
int launch_product(const ProductArgs& args, float* y, cudaStream_t stream);

// y[r, i] = silu(gate) * up, bf16; w: map_halves() of gate and up. splits must be 1.
int launch_activated_product(const ProductArgs& args, void* y, cudaStream_t stream);

// The same for more than kOneTileRows; activated_fills() tells whether its tiles come out even
// enough on the multiprocessors to be better than a library's product and an activation behind it.
int launch_activated_many(const ProductArgs& args, void* y, cudaStream_t stream);
bool activated_fills(const ProductArgs& args);

// The QKV product of more than kOneTileRows rows, and what launch_rope() does with it, for heads of
// 128 dims; rotated_fills() tells whether it can be used and is worth it. rope.qkv and rope.product
// are not read.
struct RopeArgs;
bool rotated_fills(const ProductArgs& args, const RopeArgs& rope);
int launch_rotated_product(const ProductArgs& args, const RopeArgs& rope, const StepView& step,
                           cudaStream_t stream);

// The head and what greedy rows need to know of their logits, which are stored nowhere:
// tiles[r, t] of kProductColumns ids each. splits must be 1. first_head: of the step, that is row
// 0.
struct HeadReduction {
  decide::TilePartial* tiles;
  int32_t tile_count;
  int32_t token_count;  // ids at and behind it are never chosen
  int32_t first_head;
};
int launch_reduced_product(const ProductArgs& args, const HeadReduction& head, const StepView& step,
                           cudaStream_t stream);

}  // namespace diffulex::cuda
