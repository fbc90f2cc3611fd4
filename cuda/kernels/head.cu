#include "cuda/kernels/head.h"

#include <cuda_runtime.h>

#include "cuda/kernels/launch.h"

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

__device__ bool is_skipped(const HeadChunk& chunk, const RequestRow& request) {
  return chunk.skip_greedy && request.sampler.temperature <= 0 && request.adjust_count == 0;
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
    const bool banned = decide::is_banned(id, chunk.token_count, request.blocks.mask_token);
    if (banned || !decide::is_finite(x[i]))
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
  __shared__ decide::Candidate best[kThreads];
  __shared__ float sums[kThreads];
  let_next_kernel_begin();
  wait_for_kernel_before();
  const int tile = static_cast<int>(blockIdx.x), row = static_cast<int>(blockIdx.y);
  if (chunk.first + row >= step.counts->heads) return;
  const HeadInfo head = step.heads[chunk.first + row];
  const RequestRow& request = step.requests[head.request];
  if (is_skipped(chunk, request)) return;
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
  decide::Candidate mine{-INFINITY, -1};
  for (int i = 0; i < kPerThread; ++i) mine = decide::likelier(mine, {x[i], id_of(i)});
  const decide::Candidate top = block_reduce(mine, best, decide::likelier);
  if (!(top.logit > -INFINITY)) {
    if (threadIdx.x == 0) *out = {-INFINITY, -1, 0, 0, -1, 0, -INFINITY};
    return;
  }
  decide::Candidate rest{-INFINITY, -1};
  float sum = 0, weighted = 0;
  for (int i = 0; i < kPerThread; ++i) {
    if (id_of(i) != top.token) rest = decide::likelier(rest, {x[i], id_of(i)});
    const float below = x[i] - top.logit;
    weight[i] = expf(below);
    sum += weight[i];
    if (weight[i] > 0) weighted += weight[i] * below;
  }
  const auto add = [](float a, float b) { return a + b; };
  sum = block_reduce(sum, sums, add);
  weighted = block_reduce(weighted, sums, add);
  const decide::Candidate second = block_reduce(rest, best, decide::likelier);
  if (threadIdx.x == 0)
    *out = {top.logit, top.token, sum, weighted, top.token, top.logit, second.logit};
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
    const decide::TileShare share =
        there ? decide::share_of(tile, row.max) : decide::TileShare{0, 0};
    sums[t] = share.sum;
    weighted[t] = share.weighted;
    if (there && t != leader && tile.max > row.second) row.second = tile.max;
    if (there && tile.second > row.second) row.second = tile.second;
  }
  for (int offset = 16; offset > 0; offset /= 2)
    row.second = fmaxf(row.second, __shfl_xor_sync(~0u, row.second, offset));
  __syncwarp();
#pragma unroll 16
  for (int t = 0; t < count; ++t) {  // every lane does it: nobody waits for another
    row.sum += sums[t];
    row.weighted += weighted[t];
  }
  return row;
}

// One warp per row.
__global__ void pick_kernel(HeadChunk chunk, StepView step) {
  __shared__ float sums[kMostTiles], weighted[kMostTiles];
  let_next_kernel_begin();
  wait_for_kernel_before();
  const int row = static_cast<int>(blockIdx.x);
  if (chunk.first + row >= step.counts->heads) return;
  const HeadInfo head = step.heads[chunk.first + row];
  const RequestRow& request = step.requests[head.request];
  const decide::SamplerParams& sampler = request.sampler;
  if (decide::truncates(sampler) || is_skipped(chunk, request)) return;
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

constexpr int kPickThreads = 320;        // tiles of 150,000 ids
constexpr int kMostReducedTiles = 6000;  // of a row, 168 kB of shared memory

// Small tiles that become one are a word apart from the next ones in shared memory: threads that
// read them side by side find them in different banks.
constexpr int kTileWords = sizeof(decide::TilePartial) / sizeof(int32_t);
constexpr int kGroupWords = kSmallTiles * kTileWords;
__host__ __device__ constexpr int group_place(int group) { return group * (kGroupWords + 1); }

// One block per row: smaller tiles become those that all devices sum, then as above. near: of
// shared memory, for a row's tiles, which come in coalesced.
__global__ void __launch_bounds__(kPickThreads)
    pick_reduced_kernel(const HeadReduction head, const StepView step, decide::Pick* picks) {
  extern __shared__ int32_t near[];
  __shared__ decide::TilePartial tiles[kMostTiles];
  __shared__ float sums[kMostTiles], weighted[kMostTiles];
  let_next_kernel_begin();
  const int row = static_cast<int>(blockIdx.x), count = (head.tile_count - 1) / kSmallTiles + 1;
  const bool there = head.first_head + row < step.counts->heads;
  decide::SamplerParams sampler{};
  if (there) sampler = step.requests[step.heads[head.first_head + row].request].sampler;
  wait_for_kernel_before();
  if (!there) return;
  const auto* const from =
      reinterpret_cast<const int32_t*>(head.tiles + static_cast<int64_t>(row) * head.tile_count);
#pragma unroll 16
  for (int i = static_cast<int>(threadIdx.x); i < head.tile_count * kTileWords; i += kPickThreads)
    near[group_place(i / kGroupWords) + i % kGroupWords] = from[i];
  __syncthreads();
  for (int t = static_cast<int>(threadIdx.x); t < count; t += kPickThreads) {
    const auto* const small = reinterpret_cast<const decide::TilePartial*>(near + group_place(t));
    const decide::RowSums r =
        decide::sum_tiles(small, min(kSmallTiles, head.tile_count - t * kSmallTiles));
    tiles[t] = {r.max, r.argmax, r.sum, r.weighted, r.argmax, r.max, r.second};
  }
  __syncthreads();
  if (threadIdx.x >= 32) return;
  const decide::RowSums joined = join_tiles(tiles, count, sums, weighted);
  if (threadIdx.x != 0) return;
  picks[head.first_head + row] = joined.argmax < 0
                                     ? decide::Pick(-1, 0, 0)
                                     : decide::pick_of(joined.argmax, joined.max, joined, sampler);
}

}  // namespace

int launch_reduce(const HeadChunk& chunk, const StepView& step, cudaStream_t stream) {
  if (chunk.count == 0) return 0;
  const dim3 grid(static_cast<unsigned>(chunk.tile_count), static_cast<unsigned>(chunk.count));
  return launch(reduce_kernel, {grid, kThreads}, stream, chunk, step);
}

int launch_pick(const HeadChunk& chunk, const StepView& step, cudaStream_t stream) {
  if (chunk.count == 0) return 0;
  return launch(pick_kernel, {dim3(static_cast<unsigned>(chunk.count)), 32}, stream, chunk, step);
}

int launch_pick_reduced(const HeadReduction& head, int32_t count, const StepView& step,
                        decide::Pick* picks, cudaStream_t stream) {
  if (count == 0) return 0;
  const int groups = (head.tile_count + kSmallTiles - 1) / kSmallTiles;
  const size_t bytes = static_cast<size_t>(group_place(groups)) * sizeof(int32_t);
  if (head.tile_count > kMostReducedTiles) return static_cast<int>(cudaErrorInvalidValue);
  const cudaError_t error = cudaFuncSetAttribute(
      pick_reduced_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes));
  if (error != cudaSuccess) return static_cast<int>(error);
  return launch(pick_reduced_kernel, {dim3(static_cast<unsigned>(count)), kPickThreads, bytes},
                stream, head, step, picks);
}

int32_t most_reduced_ids() { return kMostReducedTiles * kProductColumns; }

}  // namespace diffulex::cuda
