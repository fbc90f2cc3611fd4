// From picks to what a step decides: decide::multi_block_step for every request.
#include <cuda_runtime.h>

#include "cuda/kernels/head.h"
#include "cuda/kernels/launch.h"
#include "decide/multi_block.h"

namespace diffulex::cuda {
namespace {

constexpr int kMostTokens = 2048;  // of a window that is decided in shared memory
constexpr int kMostPicks = 1024;   // likewise

// One warp per request brings its window and picks near; one lane decides.
__global__ void decide_step_kernel(StepView step, const decide::Pick* picks, int32_t stride,
                                   decide::Window* windows, int32_t* tokens) {
  __shared__ RequestRow request;
  __shared__ int32_t near[kMostTokens];
  __shared__ decide::Pick near_picks[kMostPicks];
  const int r = static_cast<int>(blockIdx.x), lane = static_cast<int>(threadIdx.x);
  let_next_kernel_begin();
  const bool there = r < step.counts->requests;
  int32_t* const out = tokens + static_cast<int64_t>(r) * stride;
  int32_t* const work = stride <= kMostTokens ? near : out;
  if (there) {
    const auto* const from = reinterpret_cast<const int4*>(step.requests + r);
    for (int i = lane; i < static_cast<int>(sizeof(RequestRow) / sizeof(int4)); i += 32)
      reinterpret_cast<int4*>(&request)[i] = from[i];
  }
  __syncwarp();
  wait_for_kernel_before();
  if (!there) return;
  const bool ran = request.window_offset >= 0;
  const int32_t valid = ran ? request.window.valid * request.blocks.block_size : 0;
  const int32_t* const in = step.tokens + request.first_token + request.window_offset;
  for (int i = lane; i < stride; i += 32) work[i] = i < valid ? in[i] : request.blocks.mask_token;
  const decide::Pick* chosen = picks + request.head_begin;
  if (request.head_count <= kMostPicks) {
    for (int i = lane; i < static_cast<int>(request.head_count); i += 32) near_picks[i] = chosen[i];
    chosen = near_picks;
  }
  __syncwarp();
  if (lane == 0) {
    if (ran)
      decide::multi_block_step(request.blocks, request.window, work, chosen, request.stored_blocks);
    else if (request.token_count > 0)  // not that of a parked request
      ++request.window.forwards;
  }
  __syncwarp();
  const auto* const window = reinterpret_cast<const int32_t*>(&request.window);
  for (int i = lane; i < static_cast<int>(sizeof(decide::Window) / sizeof(int32_t)); i += 32)
    reinterpret_cast<int32_t*>(windows + r)[i] = window[i];
  for (int i = lane; work != out && i < stride; i += 32) out[i] = work[i];
}
static_assert(sizeof(RequestRow) % sizeof(int4) == 0);

}  // namespace

int launch_decide_step(const StepView& step, const decide::Pick* picks, int32_t stride,
                       decide::Window* windows, int32_t* tokens, cudaStream_t stream) {
  if (step.shape.requests == 0) return 0;
  return launch(decide_step_kernel, {dim3(static_cast<unsigned>(step.shape.requests)), 32}, stream,
                step, picks, stride, windows, tokens);
}

}  // namespace diffulex::cuda
