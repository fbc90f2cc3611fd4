#include "cuda/kernels/chain.h"

#include <cuda_runtime.h>

#include "backend/chain.h"

namespace diffulex::cuda {
namespace {

constexpr int kRowThreads = 1024;  // of the one block that lines the requests up
constexpr int kListThreads = 128;
constexpr int kWarps = kListThreads / 32;

// What the requests before one take of the step's lists.
struct Part {
  int32_t rows, heads, carries, items;
};

__device__ Part operator+(Part a, Part b) {
  return {a.rows + b.rows, a.heads + b.heads, a.carries + b.carries, a.items + b.items};
}

// Sum over the lanes up to this one.
__device__ Part warp_scan(Part x) {
  for (int offset = 1; offset < 32; offset *= 2) {
    const Part below{__shfl_up_sync(~0u, x.rows, offset), __shfl_up_sync(~0u, x.heads, offset),
                     __shfl_up_sync(~0u, x.carries, offset), __shfl_up_sync(~0u, x.items, offset)};
    if (static_cast<int>(threadIdx.x % 32) >= offset) x = x + below;
  }
  return x;
}

// Sum over the threads of the block up to this one. warps: shared, [32].
__device__ Part block_scan(Part x, Part* warps) {
  const int warp = static_cast<int>(threadIdx.x / 32);
  x = warp_scan(x);
  if (threadIdx.x % 32 == 31) warps[warp] = x;
  __syncthreads();
  if (warp == 0) warps[threadIdx.x] = warp_scan(warps[threadIdx.x]);
  __syncthreads();
  return warp > 0 ? warps[warp - 1] + x : x;
}

// One warp per request brings the new window to its row; one lane decides.
__device__ void follow_requests(const ChainArgs& args, RequestRow* requests, int count) {
  constexpr int kWords = static_cast<int>(sizeof(decide::Window) / sizeof(int32_t));
  const int lane = static_cast<int>(threadIdx.x % 32);
  for (int r = static_cast<int>(threadIdx.x / 32); r < count; r += kRowThreads / 32) {
    const auto* const from = reinterpret_cast<const int32_t*>(args.windows + r);
    auto* const to = reinterpret_cast<int32_t*>(&requests[r].window);
    for (int i = lane; i < kWords; i += 32) to[i] = from[i];
    __syncwarp();
    if (lane == 0) follow(requests[r]);
  }
}

// The plan's part of a step: its rows and counts.
__global__ void rows_kernel(ChainArgs args, StepView step) {
  __shared__ Part warps[kRowThreads / 32];
  __shared__ Part before;
  auto* const requests = const_cast<RequestRow*>(step.requests);
  const int count = step.counts->requests;
  follow_requests(args, requests, count);
  if (threadIdx.x == 0) before = Part{};
  __syncthreads();
  for (int first = 0; first < count; first += kRowThreads) {
    const int r = first + static_cast<int>(threadIdx.x);
    Part mine{};
    if (r < count) {
      const auto rows = static_cast<int32_t>(requests[r].token_count);
      mine = {rows, static_cast<int32_t>(requests[r].head_count),
              requests[r].carry_row >= 0 ? 1 : 0, (rows + args.item_rows - 1) / args.item_rows};
    }
    const Part end = before + block_scan(mine, warps);
    if (r < count) {
      requests[r].first_token = static_cast<uint32_t>(end.rows - mine.rows);
      requests[r].head_begin = static_cast<uint32_t>(end.heads - mine.heads);
      args.begins[r] = {end.items - mine.items, end.carries - mine.carries};
    }
    __syncthreads();
    if (threadIdx.x == kRowThreads - 1) before = end;
    __syncthreads();
  }
  if (threadIdx.x == 0)
    *const_cast<StepCounts*>(step.counts) = {count, before.rows, before.heads, before.carries};
  auto* const items = const_cast<AttentionItem*>(step.items);
  for (int i = before.items + static_cast<int>(threadIdx.x); i < step.shape.items; i += kRowThreads)
    items[i] = {0, 0, 0};
}

__device__ void list_rows(const ChainArgs& args, const StepView& step, const RequestRow& row,
                          int32_t r) {
  const int32_t* const window = args.tokens + static_cast<int64_t>(r) * args.stride;
  auto* const tokens = const_cast<int32_t*>(step.tokens) + row.first_token;
  auto* const request = const_cast<int32_t*>(step.row_request) + row.first_token;
  const auto count = static_cast<int32_t>(row.token_count);
  for (int32_t i = static_cast<int32_t>(threadIdx.x); i < count; i += kListThreads) {
    tokens[i] = window[i];
    request[i] = r;
  }
  const ChainBegin begin = args.begins[r];
  auto* const items = const_cast<AttentionItem*>(step.items) + begin.item;
  for (int32_t i = static_cast<int32_t>(threadIdx.x); i * args.item_rows < count; i += kListThreads)
    items[i] = {r, i * args.item_rows, min(args.item_rows, count - i * args.item_rows)};
  if (threadIdx.x == 0 && row.carry_row >= 0)
    const_cast<CarryInfo*>(step.carries)[begin.carry] = {
        static_cast<int32_t>(row.first_token) + row.carry_row, static_cast<int32_t>(row.slot)};
}

// The rows that the sampler reads, in order: write_head_rows() with the work of a block.
__device__ void list_heads(const ChainArgs& args, const StepView& step, const RequestRow& row,
                           int32_t r) {
  __shared__ int32_t found[kWarps];
  const decide::MultiBlockParams& p = row.blocks;
  const int32_t* const window = args.tokens + static_cast<int64_t>(r) * args.stride;
  const int lane = static_cast<int>(threadIdx.x % 32), warp = static_cast<int>(threadIdx.x / 32);
  auto* const sources = const_cast<int32_t*>(step.head_source);
  auto* const heads = const_cast<HeadInfo*>(step.heads);
  auto h = static_cast<int32_t>(row.head_begin);
  const int32_t count = row.window.valid * p.block_size;
  for (int32_t first = 0; first < count; first += kListThreads) {
    const int32_t at = first + static_cast<int32_t>(threadIdx.x);
    bool reads = false;
    if (at < count) {
      const int32_t slot = at / p.block_size, offset = at - slot * p.block_size;
      const decide::Offsets offsets = decide::sampled_offsets(p, row.window, slot);
      reads = offset >= offsets.begin && offset < offsets.end && window[at] == p.mask_token;
    }
    const unsigned votes = __ballot_sync(~0u, reads);
    if (lane == 0) found[warp] = __popc(votes);
    __syncthreads();
    int32_t mine = h + __popc(votes & ((1u << lane) - 1));
    for (int w = 0; w < kWarps; ++w) {
      mine += w < warp ? found[w] : 0;
      h += found[w];
    }
    if (reads) {
      const int32_t source = head_row(row, at);
      sources[mine] = source == kCarriedRow ? ~static_cast<int32_t>(row.slot) : source;
      heads[mine] = {r, row.context_len + row.window_offset + at};
    }
    __syncthreads();
  }
}

// What is spelt out per row. One block per request.
__global__ void lists_kernel(ChainArgs args, StepView step) {
  const auto r = static_cast<int32_t>(blockIdx.x);
  if (r >= step.counts->requests) return;
  const RequestRow& row = step.requests[r];
  if (row.token_count == 0) return;
  list_rows(args, step, row, r);
  list_heads(args, step, row, r);
}

}  // namespace

int launch_chain(const ChainArgs& args, const StepView& step, cudaStream_t stream) {
  if (step.shape.requests == 0) return 0;
  rows_kernel<<<1, kRowThreads, 0, stream>>>(args, step);
  if (const cudaError_t status = cudaGetLastError(); status != cudaSuccess)
    return static_cast<int>(status);
  lists_kernel<<<static_cast<unsigned>(step.shape.requests), kListThreads, 0, stream>>>(args, step);
  return static_cast<int>(cudaGetLastError());
}

}  // namespace diffulex::cuda
