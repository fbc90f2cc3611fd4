#include "cuda/kernels/attention_narrow.h"

#include <algorithm>

#include "cuda/kernels/attention_narrow_round.h"

namespace diffulex::cuda {
namespace {

template <class S>
__global__ void __launch_bounds__(kNarrowThreads)
    attention_narrow_kernel(const AttentionArgs args, const NarrowGrid grid) {
  extern __shared__ uint4 memory[];
  auto& shared = *reinterpret_cast<NarrowShared<S>*>(memory);
  let_next_kernel_begin();
  const NarrowBlock block = narrow_block(args, grid);
  const int part = static_cast<int>(blockIdx.y);
  int32_t begin = 0, end = 0;
  if (block.count > 0) {
    const ItemKeys keys = item_keys(args, block.view, shared.limits);
    if (threadIdx.x == 0) shared.view = block.view, shared.item = keys;
    if (const int i = static_cast<int>(threadIdx.x); i < kNarrowVectors) {
      int2 range{0, 0};
      if (i < block.count) {
        const decide::KeyRange seen =
            row_range(args, block.view, (block.begin + i) / block.view.group);
        range = {seen.begin, seen.end};
      }
      shared.ranges[i] = range;
    }
    __syncthreads();
    begin = keys.begin, end = keys.end;
  }
  const bool split = grid.parts > 1 && begin / kPartKeys < (end - 1) / kPartKeys;
  if (split) begin = max(begin, part * kPartKeys), end = min(end, (part + 1) * kPartKeys);
  if (block.count <= 0 || (split ? begin >= end : part > 0)) {
    wait_for_kernel_before();
    return;
  }
  NarrowSums<S> acc;
  reset(acc);
  const int32_t at = shared.item.next_tile(begin / S::kKeys * S::kKeys, S::kKeys);
  if (at < end)
    narrow_rounds(acc, args, grid, block, at, end, shared);
  else
    wait_for_kernel_before();
  if (threadIdx.x >= kThreads) return;
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    acc.sum[h] += __shfl_xor_sync(~0u, acc.sum[h], 1);
    acc.sum[h] += __shfl_xor_sync(~0u, acc.sum[h], 2);
  }
  if (!split) {
    narrow_store(acc, args, block);
    return;
  }
  NarrowPartial<S>& to = partial<S>(grid, part);
  if (warp_id() == 0) to.limits[lane_id()] = float4{acc.top[0], acc.top[1], acc.sum[0], acc.sum[1]};
#pragma unroll
  for (int i = 0; i < S::kColumns / 8; ++i)
    to.out[i][threadIdx.x] = float4{acc.out[i][0], acc.out[i][1], acc.out[i][2], acc.out[i][3]};
}

// Adds the parts of the items that several blocks worked on, in order.
template <class S>
__global__ void __launch_bounds__(kThreads)
    add_narrow_parts_kernel(const AttentionArgs args, const NarrowGrid grid) {
  __shared__ int32_t limits[4];
  let_next_kernel_begin();
  const NarrowBlock block = narrow_block(args, grid);
  int first = 0, last = 0;
  if (block.count > 0) {
    const ItemKeys keys = item_keys(args, block.view, limits);
    if (keys.begin < keys.end) first = keys.begin / kPartKeys, last = (keys.end - 1) / kPartKeys;
  }
  wait_for_kernel_before();
  if (first == last) return;
  NarrowSums<S> acc;
  reset(acc);
#pragma unroll 2
  for (int part = first; part <= last; ++part) {
    const NarrowPartial<S>& from = partial<S>(grid, part);
    const float4 tops = from.limits[lane_id()];
    const Decay decay[2] = {common_top(acc.top[0], tops.x), common_top(acc.top[1], tops.y)};
    acc.top[0] = decay[0].top, acc.top[1] = decay[1].top;
    acc.sum[0] = add_part(decay[0], acc.sum[0], tops.z);
    acc.sum[1] = add_part(decay[1], acc.sum[1], tops.w);
#pragma unroll
    for (int i = 0; i < S::kColumns / 8; ++i) {
      const float4 x = from.out[i][threadIdx.x];
      const float other[4] = {x.x, x.y, x.z, x.w};
#pragma unroll
      for (int e = 0; e < 4; ++e) acc.out[i][e] = add_part(decay[e / 2], acc.out[i][e], other[e]);
    }
  }
  narrow_store(acc, args, block);
}

constexpr int kFewWideBlocks = 40;        // as many leave most of the device idle
constexpr int kMaxNarrowPartials = 8192;  // 69 MB where heads have 128 dims

int narrow_blocks(int heads, int kv_heads, int items) {
  return items * kv_heads * item_chunks(heads, kv_heads, kNarrowVectors);
}

template <class S>
cudaError_t launch_shape(const AttentionArgs& args, int parts, cudaStream_t stream) {
  const int kv_heads = args.kv.kv_heads;
  const auto blocks = static_cast<unsigned>(narrow_blocks(args.heads, kv_heads, args.item_count));
  const NarrowGrid grid{item_chunks(args.heads, kv_heads, kNarrowVectors),
                        divisor(args.kv.page_size), parts, args.workspace};
  const size_t partials = parts > 1 ? size_t{blocks} * static_cast<size_t>(parts) : 0;
  if (args.workspace_bytes < partials * sizeof(NarrowPartial<S>)) return cudaErrorInvalidValue;
  const size_t bytes = sizeof(NarrowShared<S>);
  const auto kernel = attention_narrow_kernel<S>;
  const cudaError_t error = cudaFuncSetAttribute(
      kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes));
  if (error != cudaSuccess) return error;
  const LaunchSize size{dim3(blocks, static_cast<unsigned>(parts)), kNarrowThreads, bytes};
  const int status = launch(kernel, size, stream, args, grid);
  if (parts == 1 || status != 0) return static_cast<cudaError_t>(status);
  return static_cast<cudaError_t>(
      launch(add_narrow_parts_kernel<S>, {dim3(blocks), kThreads}, stream, args, grid));
}

}  // namespace

bool attention_is_narrow(const AttentionArgs& args, int wide_blocks, int parts) {
  return args.kv.dim <= 128 && wide_blocks <= kFewWideBlocks &&
         narrow_blocks(args.heads, args.kv.kv_heads, args.item_count) * parts <= kMaxNarrowPartials;
}

size_t attention_workspace_narrow(int wide_blocks, int heads, int kv_heads, int dim, int max_items,
                                  int parts) {
  if (dim > 128 || parts <= 1) return 0;
  const int items = wide_blocks <= kFewWideBlocks ? max_items : kFewWideBlocks / kv_heads + 1;
  const int partials = std::min(narrow_blocks(heads, kv_heads, items) * parts, kMaxNarrowPartials);
  return static_cast<size_t>(partials) *
         (dim <= 64 ? sizeof(NarrowPartial<Narrow<64, 4>>) : sizeof(NarrowPartial<Narrow<128, 4>>));
}

int launch_attention_narrow(const AttentionArgs& args, int parts, cudaStream_t stream) {
  constexpr int kOnceAround = 128;  // blocks that have a multiprocessor each
  const int blocks = narrow_blocks(args.heads, args.kv.kv_heads, args.item_count) * parts;
  if (args.kv.dim <= 64) return static_cast<int>(launch_shape<Narrow<64, 4>>(args, parts, stream));
  return static_cast<int>(blocks <= kOnceAround
                              ? launch_shape<Narrow<128, 4>>(args, parts, stream)
                              : launch_shape<Narrow<128, 2>>(args, parts, stream));
}

}  // namespace diffulex::cuda
