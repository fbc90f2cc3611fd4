// From logits to picks, and from picks to what a step decides. Pointers are of the device.
#pragma once

#include <cuda_runtime_api.h>

#include "cuda/kernels/product.h"
#include "cuda/kernels/step.h"
#include "decide/select.h"

namespace diffulex::cuda {

// A chunk of head rows [first, first + count) with their logits.
struct HeadChunk {
  int32_t first;
  int32_t count;
  int32_t vocabulary;          // columns of logits
  int32_t token_count;         // ids at and behind it are never chosen
  float* logits;               // [count, vocabulary], changed in place: adjusted, scaled, banned
  decide::TilePartial* tiles;  // [count, tile_count]
  int32_t tile_count;          // of decide::kTileIds ids
  decide::Pick* picks;         // [heads of the step]
  bool skip_greedy;            // rows that launch_pick_reduced() picks for
};

// Fills chunk.tiles.
int launch_reduce(const HeadChunk& chunk, const StepView& step, cudaStream_t stream);
// Picks of the rows that no candidates are needed for.
int launch_pick(const HeadChunk& chunk, const StepView& step, cudaStream_t stream);
// The tiles of the head's own product that are summed to one of decide::kTileIds ids first.
inline constexpr int kSmallTiles = decide::kTileIds / kProductColumns;
// Picks of greedy rows [head.first_head, + count) that launch_reduced_product() has reduced.
int launch_pick_reduced(const HeadReduction& head, int32_t count, const StepView& step,
                        decide::Pick* picks, cudaStream_t stream);
// The most ids that launch_pick_reduced() can join.
int32_t most_reduced_ids();

// Memory for sorting one row.
size_t sort_bytes(int32_t vocabulary);
// The pick of one row with top-k, top-p or min-p: its logits are sorted as a whole.
int launch_pick_sorted(const HeadChunk& chunk, const StepView& step, int32_t row, void* memory,
                       cudaStream_t stream);

// decide::multi_block_step for every request. windows: [requests], tokens: [requests, stride], out.
int launch_decide_step(const StepView& step, const decide::Pick* picks, int32_t stride,
                       decide::Window* windows, int32_t* tokens, cudaStream_t stream);

}  // namespace diffulex::cuda
