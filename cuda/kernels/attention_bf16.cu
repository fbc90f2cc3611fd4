// Attention in bf16 on tensor cores: scores, softmax and sums in f32. A block takes a group of
// query vectors of one KV head and walks the key tiles that any of them sees, one tile being
// computed with while the next one is on its way to shared memory.
#include <algorithm>

#include "cuda/kernels/attention_narrow.h"
#include "cuda/kernels/attention_parts.h"
#include "cuda/kernels/attention_warpgroups.h"
#include "cuda/kernels/launch.h"

namespace diffulex::cuda {
namespace {

// How the blocks of a launch are laid out. Partials of a block follow one another; with `parts` > 1
// there is one for each part, else one that carries the parts before.
struct Grid {
  int chunks;
  Divisor page_size;
  int parts;  // blocks over the keys of one item
  void* partials;
};

// The vectors of a block.
struct Vectors {
  ItemView view;
  int begin, count, slice;
};

template <class S>
__device__ Vectors block_vectors(const AttentionArgs& args, const Grid& grid) {
  const BlockIndex index = block_index(args, grid.chunks);
  const ItemView view = view_item(args, index.item, index.head);
  const int begin = index.chunk * S::kVectors;
  return {view, begin, min(view.vectors - begin, S::kVectors), static_cast<int>(blockIdx.y)};
}

template <class S>
__device__ Partial<S>& partial(const Grid& grid, int part) {
  const int64_t block = static_cast<int64_t>(blockIdx.x) * S::kSlices + blockIdx.y;
  return static_cast<Partial<S>*>(grid.partials)[block * grid.parts + part];
}

// The first steps of a block: everything the loop over tiles finds in shared memory. What the step
// itself says is read while the kernel before still runs.
template <class S>
__device__ void prepare(const AttentionArgs& args, const Vectors& v, Shared<S>& shared) {
  const ItemKeys keys = item_keys(args, v.view, shared.limits);
  if (threadIdx.x == 0) shared.view = v.view, shared.item = keys;
  for (int i = static_cast<int>(threadIdx.x); i < S::kVectors; i += kThreads) {
    int2 range{0, 0};
    if (i < v.count) {
      const decide::KeyRange seen = row_range(args, v.view, (v.begin + i) / v.view.group);
      range = {seen.begin, seen.end};
    }
    shared.ranges[i] = range;
  }
  wait_for_kernel_before();
  load_queries(args, v.view, v.begin, v.count, shared);
  __syncthreads();
}

template <class S>
__device__ void start_copies(const AttentionArgs& args, Divisor page_size, int slice, int32_t at,
                             int32_t next, Shared<S>& shared) {
  const int32_t page = page_at(shared, page_size, at), second = page_at(shared, page_size, next);
  find_places(args, page_size, at, page, slice, shared, 0);
  find_places(args, page_size, next, second, slice, shared, 1);
  __syncthreads();
  load_tile(args, slice, shared, 0);
  commit_copies();
}

// Adds the tiles from `at` on that begin below `end`. Where a part ends before that, which only
// kCarry allows, it is carried over in `carry`; returns whether one was.
template <class S, bool kCarry>
__device__ bool add_tiles(Accumulators<S>& acc, const AttentionArgs& args, Divisor page_size,
                          int count, int slice, int32_t at, int32_t end, Partial<S>& carry,
                          Shared<S>& shared) {
  // Copies are one tile ahead of the computing, places two and their pages three.
  constexpr int kKeys = S::kKeys;
  const ItemKeys& keys = shared.item;
  const auto behind = [&](int32_t tile) { return keys.next_tile(tile + kKeys, kKeys); };
  start_copies(args, page_size, slice, at, behind(at), shared);
  int32_t page = page_at(shared, page_size, behind(behind(at)));
  const bool first = tile_vector(0) < count, all = tile_vector(S::kTiles - 1) < count;
  const float scale2 = args.scale * kLog2E;
  bool carried = false;
  for (int buffer = 0; at < end; buffer ^= 1) {
    wait_copies<0>();
    __syncthreads();
    const int32_t next = behind(at);
    if (next < end) {
      const int32_t third = behind(next);
      load_tile(args, slice, shared, buffer ^ 1);
      find_places(args, page_size, third, page, slice, shared, buffer);
      page = page_at(shared, page_size, behind(third));
    }
    commit_copies();
    if (all)
      add_tile<S, S::kTiles>(acc, shared, buffer, at, scale2);
    else if (first)
      add_tile<S, 1>(acc, shared, buffer, at, scale2);
    if (kCarry && next < end && next / kPartKeys != at / kPartKeys) {
      add_lanes(acc);
      if (carried) add_before(acc, count, carry);
      store_partial(acc, count, carry);
      reset(acc);
      carried = true;
    }
    at = next;
  }
  return carried;
}

// kCarry: a block may go through several parts.
template <class S, bool kCarry>
__global__ void __launch_bounds__(kThreads)
    attention_bf16_kernel(const AttentionArgs args, const Grid grid) {
  extern __shared__ uint4 memory[];
  Shared<S>& shared = *reinterpret_cast<Shared<S>*>(memory);
  let_next_kernel_begin();
  const Vectors v = block_vectors<S>(args, grid);
  if (v.count <= 0) {
    wait_for_kernel_before();
    return;
  }
  prepare(args, v, shared);
  int32_t begin = shared.item.begin, end = shared.item.end;
  const bool split = grid.parts > 1 && begin / kPartKeys < (end - 1) / kPartKeys;
  const int part = static_cast<int>(blockIdx.z);
  if (split) {
    begin = max(begin, part * kPartKeys), end = min(end, (part + 1) * kPartKeys);
    if (begin >= end) return;
  } else if (part > 0) {
    return;
  }

  Accumulators<S> acc;
  reset(acc);
  const int32_t at = shared.item.next_tile(begin / S::kKeys * S::kKeys, S::kKeys);
  Partial<S>& carry = partial<S>(grid, part);
  const bool carried = at < end && add_tiles<S, kCarry>(acc, args, grid.page_size, v.count, v.slice,
                                                        at, end, carry, shared);
  add_lanes(acc);
  if (split) {
    store_partial(acc, v.count, carry);
    return;
  }
  if (kCarry && carried) add_before(acc, v.count, carry);
  store(acc, args, v.view, v.begin, v.count, v.slice);
}

// One tile of vectors, kColumns columns of 8, parts [first, last]: several are on their way at
// once.
template <class S, int kColumns>
__device__ void add_columns(const AttentionArgs& args, const Grid& grid, const Vectors& v, int tile,
                            int column, int first, int last) {
  constexpr int kBatch = 4;
  float top[2] = {-INFINITY, -INFINITY}, sum[2] = {0, 0}, out[kColumns][4] = {};
  for (int part = first; part <= last; part += kBatch) {
    float4 limits[kBatch], x[kBatch][kColumns];
#pragma unroll
    for (int p = 0; p < kBatch; ++p) {
      const Partial<S>& from = partial<S>(grid, min(part + p, last));
      limits[p] = from.limits[tile][threadIdx.x];
#pragma unroll
      for (int i = 0; i < kColumns; ++i) x[p][i] = from.out[tile][column + i][threadIdx.x];
    }
#pragma unroll
    for (int p = 0; p < kBatch; ++p) {
      if (part + p > last) break;
      const Decay decay[2] = {common_top(top[0], limits[p].x), common_top(top[1], limits[p].y)};
      top[0] = decay[0].top, top[1] = decay[1].top;
      sum[0] = add_part(decay[0], sum[0], limits[p].z);
      sum[1] = add_part(decay[1], sum[1], limits[p].w);
#pragma unroll
      for (int i = 0; i < kColumns; ++i) {
        const float other[4] = {x[p][i].x, x[p][i].y, x[p][i].z, x[p][i].w};
#pragma unroll
        for (int e = 0; e < 4; ++e) out[i][e] = add_part(decay[e / 2], out[i][e], other[e]);
      }
    }
  }
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const int vector = tile_vector(tile) + lane_id() / 4 + h * 8;
    if (vector >= v.count) continue;
    uint16_t* const to = static_cast<uint16_t*>(args.out) +
                         vector_element(args, v.view, v.begin + vector) + v.slice * S::kOut;
    const float inverse = inverse_of(sum[h]);
#pragma unroll
    for (int i = 0; i < kColumns; ++i)
      if (v.slice * S::kOut + (column + i) * 8 < args.kv.dim)
        *reinterpret_cast<uint32_t*>(to + (column + i) * 8 + lane_id() % 4 * 2) =
            pack_bf16(out[i][2 * h] * inverse, out[i][2 * h + 1] * inverse);
  }
}

constexpr int kPartColumns = 2;  // of 8, that a block of add_parts_kernel adds

// Adds the parts of the items that several blocks worked on.
template <class S>
__global__ void __launch_bounds__(kThreads)
    add_parts_kernel(const AttentionArgs args, const Grid grid) {
  __shared__ int32_t limits[4];
  let_next_kernel_begin();
  wait_for_kernel_before();
  const Vectors v = block_vectors<S>(args, grid);
  if (v.count <= 0) return;
  const ItemKeys keys = item_keys(args, v.view, limits);
  const int first = keys.begin / kPartKeys, last = (keys.end - 1) / kPartKeys;
  if (keys.begin >= keys.end || first == last) return;
  const int column = static_cast<int>(blockIdx.z) * kPartColumns;
  for (int tile = 0; tile < S::kTiles && tile_vector(tile) < v.count; ++tile)
    add_columns<S, kPartColumns>(args, grid, v, tile, column, first, last);
}

constexpr int kFewBlocks = 256;     // as many keep the device busy without being split
constexpr int kMaxPartials = 4096;  // 285 MB where heads have 128 dims

template <class S>
int blocks_of(int heads, int kv_heads, int items) {
  return items * kv_heads * item_chunks(heads, kv_heads, S::kVectors);
}

int parts_of(int max_keys) { return (max_keys + kPartKeys - 1) / kPartKeys; }

bool is_split(int blocks, int parts) {
  return parts > 1 && blocks < kFewBlocks && blocks * parts <= kMaxPartials;
}

// Bytes of the partials that `blocks` blocks and, if they are split, all smaller numbers need.
template <class S>
size_t workspace(int blocks, int parts) {
  if (parts <= 1) return 0;
  const int split = std::min(std::min(blocks, kFewBlocks) * parts, kMaxPartials);
  return sizeof(Partial<S>) * S::kSlices * static_cast<size_t>(std::max(blocks, split));
}

template <class S>
cudaError_t launch(const AttentionArgs& args, cudaStream_t stream) {
  const int kv_heads = args.kv.kv_heads;
  const int blocks = blocks_of<S>(args.heads, kv_heads, args.item_count);
  const int parts = parts_of(args.max_keys);
  if (attention_is_narrow(args, blocks, parts))
    return static_cast<cudaError_t>(launch_attention_narrow(args, parts, stream));
  if (args.workspace_bytes < workspace<S>(blocks, parts)) return cudaErrorInvalidValue;
  if (attention_by_warpgroups(args))
    return static_cast<cudaError_t>(launch_attention_warpgroups(args, parts > 1, stream));
  const Grid grid{item_chunks(args.heads, kv_heads, S::kVectors), divisor(args.kv.page_size),
                  is_split(blocks, parts) ? parts : 1, args.workspace};
  const dim3 size(static_cast<unsigned>(blocks), S::kSlices, static_cast<unsigned>(grid.parts));
  const auto kernel =
      parts > grid.parts ? attention_bf16_kernel<S, true> : attention_bf16_kernel<S, false>;
  const size_t bytes = sizeof(Shared<S>);
  const cudaError_t error = cudaFuncSetAttribute(
      kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes));
  if (error != cudaSuccess) return error;
  const int status = diffulex::cuda::launch(kernel, {size, kThreads, bytes}, stream, args, grid);
  if (grid.parts == 1 || status != 0) return static_cast<cudaError_t>(status);
  const dim3 columns(size.x, size.y, S::kOut / 8 / kPartColumns);
  return static_cast<cudaError_t>(
      diffulex::cuda::launch(add_parts_kernel<S>, {columns, kThreads}, stream, args, grid));
}

template <class Function>
auto with_shape(int dim, const Function& function) {
  if (dim <= 64) return function(Shape<64, 64, 2, 64>());
  if (dim <= 128) return function(Shape<128, 128, 2, 64>());
  if (dim <= 256) return function(Shape<256, 256, 1, 32>());
  return function(Shape<512, 256, 1, 32>());
}

}  // namespace

size_t attention_workspace_bf16(int heads, int kv_heads, int dim, int max_items, int max_keys) {
  return with_shape(dim, [&]<class S>(S) {
    const int blocks = blocks_of<S>(heads, kv_heads, max_items), parts = parts_of(max_keys);
    return std::max(workspace<S>(blocks, parts),
                    attention_workspace_narrow(blocks, heads, kv_heads, dim, max_items, parts));
  });
}

bool attention_by_warpgroups(const AttentionArgs& args) {
  return with_shape(args.kv.dim, [&]<class S>(S) {
    const int blocks = blocks_of<S>(args.heads, args.kv.kv_heads, args.item_count);
    const int parts = parts_of(args.max_keys);
    return !attention_is_narrow(args, blocks, parts) && !is_split(blocks, parts) &&
           attention_fills_warpgroups(args);
  });
}

int launch_attention_bf16(const AttentionArgs& args, cudaStream_t stream) {
  return with_shape(args.kv.dim,
                    [&]<class S>(S) { return static_cast<int>(launch<S>(args, stream)); });
}

}  // namespace diffulex::cuda
