#include "cuda/kernels/head.h"

#include <cuda_runtime.h>

#include "decide/multi_block.h"

namespace diffulex::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kPerThread = decide::kTileIds / kThreads;

__device__ const decide::LogitAdjust* first_adjust(const RequestRow& request, const StepView& step,
                                                   int32_t id) {
  const decide::LogitAdjust* at = step.adjust + request.adjust_begin;
  const decide::LogitAdjust* const end = at + request.adjust_count;
  int64_t n = end - at;
  while (n > 0) {
    const int64_t half = n / 2;
    if (at[half].token < id) {
      at += half + 1;
      n -= half + 1;
    } else {
      n = half;
    }
  }
  return at;
}

struct Best {
  float value;
  int32_t id;
};
__device__ Best better(Best a, Best b) {  // ties: the highest id
  return b.value > a.value || (b.value == a.value && b.id > a.id) ? b : a;
}

template <class T, class Join>
__device__ T block_reduce(T x, T* shared, Join&& join) {
  shared[threadIdx.x] = x;
  __syncthreads();
  for (int n = kThreads / 2; n > 0; n /= 2) {
    if (threadIdx.x < n) shared[threadIdx.x] = join(shared[threadIdx.x], shared[threadIdx.x + n]);
    __syncthreads();
  }
  const T result = shared[0];
  __syncthreads();
  return result;
}

// The tile's logits as the sampler sees them; each thread holds kPerThread neighbours.
__device__ void prepare(const HeadChunk& chunk, const RequestRow& request, const StepView& step,
                        float* logits, int32_t first, int n, float* x) {
  const int base = static_cast<int>(threadIdx.x) * kPerThread;
  for (int i = 0; i < kPerThread; ++i) x[i] = base + i < n ? logits[base + i] : -INFINITY;
  const decide::LogitAdjust* const end = step.adjust + request.adjust_begin + request.adjust_count;
  for (auto at = first_adjust(request, step, first + base);
       at < end && at->token < first + base + kPerThread; ++at)
    x[at->token - first - base] = decide::adjusted(x[at->token - first - base], *at);
  const float temperature = request.sampler.temperature;
  for (int i = 0; i < kPerThread; ++i) {
    const int32_t id = first + base + i;
    const bool banned = id >= chunk.token_count || id == request.blocks.mask_token;
    if (banned || !(fabsf(x[i]) <= 3.4e38f))
      x[i] = -INFINITY;
    else if (temperature > 0)
      x[i] = fminf(fmaxf(x[i] / temperature, -3.4e38f), 3.4e38f);
    if (base + i < n) logits[base + i] = x[i];
  }
}

// Draws within the tile: the first element whose running sum passes u * sum.
__device__ void draw(const float* weight, const float* x, float u, float sum, float* shared,
                     int32_t first, decide::TilePartial* out) {
  float mine = 0;
  for (int i = 0; i < kPerThread; ++i) mine += weight[i];
  shared[threadIdx.x] = mine;
  __syncthreads();
  if (threadIdx.x == 0) {
    float before = 0;
    for (int t = 0; t < kThreads; ++t) {  // sums in the order of ids
      const float next = before + shared[t];
      shared[t] = before;
      before = next;
    }
  }
  __syncthreads();
  const float target = u * sum, before = shared[threadIdx.x];
  const bool last = threadIdx.x + 1 == kThreads;
  const float next = last ? INFINITY : shared[threadIdx.x + 1];
  __syncthreads();
  if (!(target >= before && target < next) || mine <= 0) return;
  float running = before;
  int chosen = -1;
  for (int i = 0; i < kPerThread; ++i) {
    if (!(weight[i] > 0)) continue;
    chosen = i;
    running += weight[i];
    if (running > target) break;
  }
  out->sampled = first + static_cast<int32_t>(threadIdx.x) * kPerThread + chosen;
  out->sampled_logit = x[chosen];
}

__global__ void reduce_kernel(HeadChunk chunk, StepView step) {
  __shared__ Best best[kThreads];
  __shared__ float sums[kThreads];
  const int tile = static_cast<int>(blockIdx.x), row = static_cast<int>(blockIdx.y);
  if (chunk.first + row >= step.counts->heads) return;
  const HeadInfo head = step.heads[chunk.first + row];
  const RequestRow& request = step.requests[head.request];
  const int32_t first = tile * decide::kTileIds;
  const int n = min(decide::kTileIds, chunk.vocabulary - first);
  float* const logits = chunk.logits + static_cast<int64_t>(row) * chunk.vocabulary + first;
  decide::TilePartial* const out =
      chunk.tiles + static_cast<int64_t>(row) * chunk.tile_count + tile;
  float x[kPerThread], weight[kPerThread];
  prepare(chunk, request, step, logits, first, n, x);

  const auto id_of = [&](int i) {
    return first + static_cast<int32_t>(threadIdx.x) * kPerThread + i;
  };
  Best mine{-INFINITY, -1};
  for (int i = 0; i < kPerThread; ++i) mine = better(mine, {x[i], id_of(i)});
  const Best top = block_reduce(mine, best, better);
  if (!(top.value > -INFINITY)) {
    if (threadIdx.x == 0) *out = {-INFINITY, -1, 0, 0, -1, 0, -INFINITY};
    return;
  }
  Best rest{-INFINITY, -1};
  float sum = 0, weighted = 0;
  for (int i = 0; i < kPerThread; ++i) {
    if (id_of(i) != top.id) rest = better(rest, {x[i], id_of(i)});
    const float below = x[i] - top.value;
    weight[i] = expf(below);
    sum += weight[i];
    if (weight[i] > 0) weighted += weight[i] * below;
  }
  const auto add = [](float a, float b) { return a + b; };
  sum = block_reduce(sum, sums, add);
  weighted = block_reduce(weighted, sums, add);
  const Best second = block_reduce(rest, best, better);
  if (threadIdx.x == 0) *out = {top.value, top.id, sum, weighted, top.id, top.value, second.value};
  __syncthreads();
  if (request.sampler.temperature <= 0 || decide::truncates(request.sampler)) return;
  const float u = decide::uniform(
      decide::row_draw(request.sampler, head.position, request.window.denoise_forwards, tile).v[0]);
  draw(weight, x, u, sum, sums, first, out);
}

constexpr int kMostTiles = 1024;  // of a row that a warp joins; half a million ids

// decide::sum_tiles with the work of a warp: the same operations in the same order, so the same
// bits.
__device__ decide::RowSums join_tiles(const decide::TilePartial* tiles, int count, float* sums,
                                      float* weighted) {
  const int lane = static_cast<int>(threadIdx.x);
  decide::RowSums row{-INFINITY, 0, 0, -1, -INFINITY};
  int leader = -1;  // ties: the last tile
  for (int t = lane; t < count; t += 32)
    if (tiles[t].sum > 0 && tiles[t].max >= row.max) row.max = tiles[t].max, leader = t;
  for (int offset = 16; offset > 0; offset /= 2) {
    const float max = __shfl_xor_sync(~0u, row.max, offset);
    const int other = __shfl_xor_sync(~0u, leader, offset);
    if (max > row.max || (max == row.max && other > leader)) row.max = max, leader = other;
  }
  if (leader < 0) return row;
  row.argmax = tiles[leader].argmax;
  for (int t = lane; t < count; t += 32) {
    const decide::TilePartial& tile = tiles[t];
    const bool there = tile.sum > 0;
    const float below = tile.max - row.max, scale = there ? expf(below) : 0.0f;
    sums[t] = there ? tile.sum * scale : 0.0f;
    weighted[t] = there ? scale * (tile.weighted + below * tile.sum) : 0.0f;
    if (there && t != leader && tile.max > row.second) row.second = tile.max;
    if (there && tile.second > row.second) row.second = tile.second;
  }
  for (int offset = 16; offset > 0; offset /= 2)
    row.second = fmaxf(row.second, __shfl_xor_sync(~0u, row.second, offset));
  __syncwarp();
  for (int t = 0; t < count; ++t) {  // every lane does it: nobody waits for another
    row.sum += sums[t];
    row.weighted += weighted[t];
  }
  return row;
}

// One warp per row.
__global__ void pick_kernel(HeadChunk chunk, StepView step) {
  __shared__ float sums[kMostTiles], weighted[kMostTiles];
  const int row = static_cast<int>(blockIdx.x);
  if (chunk.first + row >= step.counts->heads) return;
  const HeadInfo head = step.heads[chunk.first + row];
  const RequestRow& request = step.requests[head.request];
  const decide::SamplerParams& sampler = request.sampler;
  if (decide::truncates(sampler)) return;
  const decide::TilePartial* const tiles =
      chunk.tiles + static_cast<int64_t>(row) * chunk.tile_count;
  decide::Pick& pick = chunk.picks[chunk.first + row];
  if (sampler.temperature > 0 || chunk.tile_count > kMostTiles) {
    if (threadIdx.x == 0)
      pick = decide::pick_from_tiles(tiles, chunk.tile_count, sampler, head.position,
                                     request.window.denoise_forwards);
    return;
  }
  const decide::RowSums joined = join_tiles(tiles, chunk.tile_count, sums, weighted);
  if (threadIdx.x != 0) return;
  pick = joined.argmax < 0 ? decide::Pick(-1, 0, 0)
                           : decide::pick_of(joined.argmax, joined.max, joined, sampler);
}

constexpr int kMostTokens = 2048;  // of a window that is decided in shared memory

// One warp per request brings its window near; one lane decides.
__global__ void decide_step_kernel(StepView step, const decide::Pick* picks, int32_t stride,
                                   decide::Window* windows, int32_t* tokens) {
  __shared__ decide::Window window;
  __shared__ int32_t near[kMostTokens];
  const int r = static_cast<int>(blockIdx.x), lane = static_cast<int>(threadIdx.x);
  if (r >= step.counts->requests) return;
  const RequestRow& request = step.requests[r];
  int32_t* const out = tokens + static_cast<int64_t>(r) * stride;
  int32_t* const work = stride <= kMostTokens ? near : out;
  const bool ran = request.window_offset >= 0;
  const int32_t valid = ran ? request.window.valid * request.blocks.block_size : 0;
  const int32_t* const in = step.tokens + request.first_token + request.window_offset;
  for (int i = lane; i < stride; i += 32) work[i] = i < valid ? in[i] : request.blocks.mask_token;
  const auto* const from = reinterpret_cast<const int32_t*>(&request.window);
  for (int i = lane; i < static_cast<int>(sizeof(decide::Window) / sizeof(int32_t)); i += 32)
    reinterpret_cast<int32_t*>(&window)[i] = from[i];
  __syncwarp();
  if (lane == 0) {
    if (ran)
      decide::multi_block_step(request.blocks, window, work, picks + request.head_begin,
                               request.stored_blocks);
    else if (request.token_count > 0)  // not that of a parked request
      ++window.forwards;
    windows[r] = window;
  }
  __syncwarp();
  for (int i = lane; work != out && i < stride; i += 32) out[i] = work[i];
}

}  // namespace

int launch_reduce(const HeadChunk& chunk, const StepView& step, cudaStream_t stream) {
  if (chunk.count == 0) return 0;
  const dim3 grid(static_cast<unsigned>(chunk.tile_count), static_cast<unsigned>(chunk.count));
  reduce_kernel<<<grid, kThreads, 0, stream>>>(chunk, step);
  return static_cast<int>(cudaGetLastError());
}

int launch_pick(const HeadChunk& chunk, const StepView& step, cudaStream_t stream) {
  if (chunk.count == 0) return 0;
  pick_kernel<<<static_cast<unsigned>(chunk.count), 32, 0, stream>>>(chunk, step);
  return static_cast<int>(cudaGetLastError());
}

int launch_decide_step(const StepView& step, const decide::Pick* picks, int32_t stride,
                       decide::Window* windows, int32_t* tokens, cudaStream_t stream) {
  if (step.shape.requests == 0) return 0;
  decide_step_kernel<<<static_cast<unsigned>(step.shape.requests), 32, 0, stream>>>(
      step, picks, stride, windows, tokens);
  return static_cast<int>(cudaGetLastError());
}

}  // namespace diffulex::cuda
