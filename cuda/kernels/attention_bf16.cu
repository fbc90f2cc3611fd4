// Attention in bf16 on tensor cores: scores, softmax and sums in f32. A block takes a group of
// query vectors of one KV head and walks the key tiles that any of them sees, one tile being
// computed with while the next one is on its way to shared memory.
#include <algorithm>

#include "cuda/kernels/attention_parts.h"

namespace diffulex::cuda {
namespace {

// How the blocks of a launch are laid out. Partials of a block follow one another; with `parts` > 1
// there is one for each part, else one that carries the parts before.
struct Grid {
  int chunks;
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

template <class S>
__device__ void start_copies(const AttentionArgs& args, const Vectors& v, const ItemKeys& keys,
                             const int32_t (&tiles)[2], Shared<S>& shared) {
  for (int i = 0; i < 2; ++i)
    find_places<S>(args, v.view, keys, tiles[i], page_at<S>(args, v.view, keys, tiles[i]), v.slice,
                   shared.places[i]);
  load_queries(args, v.view, v.begin, v.count, shared);
  __syncthreads();
  load_tile(args, v.slice, shared, 0);
  commit_copies();
}

// Adds the tiles from `at` on that begin below `end`. Where a part ends before that, it is carried
// over in `carry`; returns whether one was.
template <class S>
__device__ bool add_tiles(Accumulators<S>& acc, const AttentionArgs& args, const Vectors& v,
                          const ItemKeys& keys, int32_t at, int32_t end, Partial<S>& carry,
                          Shared<S>& shared) {
  // Copies are one tile ahead of the computing, places two and their pages three.
  constexpr int kKeys = S::kKeys;
  int32_t next = keys.next_tile(at + kKeys, kKeys), third = keys.next_tile(next + kKeys, kKeys);
  start_copies(args, v, keys, {at, next}, shared);
  int32_t page = page_at<S>(args, v.view, keys, third);
  const bool first = tile_vector(0) < v.count, all = tile_vector(S::kTiles - 1) < v.count;
  const float scale2 = args.scale * kLog2E;
  bool carried = false;
  for (int buffer = 0; at < end; buffer ^= 1) {
    wait_copies<0>();
    __syncthreads();
    const int32_t fourth = keys.next_tile(third + kKeys, kKeys);
    if (next < end) {
      load_tile(args, v.slice, shared, buffer ^ 1);
      find_places<S>(args, v.view, keys, third, page, v.slice, shared.places[buffer]);
      page = page_at<S>(args, v.view, keys, fourth);
    }
    commit_copies();
    if (all)
      add_tile<S, S::kTiles>(acc, shared, buffer, keys, at, scale2);
    else if (first)
      add_tile<S, 1>(acc, shared, buffer, keys, at, scale2);
    if (next < end && next / kPartKeys != at / kPartKeys) {
      add_lanes(acc);
      if (carried) fold<S, true>(acc, v.count, carry);
      store_partial(acc, v.count, carry);
      reset(acc);
      carried = true;
    }
    at = next, next = third, third = fourth;
  }
  return carried;
}

template <class S>
__global__ void __launch_bounds__(kThreads)
    attention_bf16_kernel(const AttentionArgs args, const Grid grid) {
  extern __shared__ uint4 memory[];
  Shared<S>& shared = *reinterpret_cast<Shared<S>*>(memory);
  const Vectors v = block_vectors<S>(args, grid);
  if (v.count <= 0) return;
  if (args.kv.dim < S::kDim) clear_shared(shared);
  const ItemKeys keys = item_keys(args, v.view, shared.limits);
  const bool split = grid.parts > 1 && keys.begin / kPartKeys < (keys.end - 1) / kPartKeys;
  const int part = static_cast<int>(blockIdx.z);
  int32_t begin = keys.begin, end = keys.end;
  if (split) {
    begin = max(begin, part * kPartKeys), end = min(end, (part + 1) * kPartKeys);
    if (begin >= end) return;
  } else if (part > 0) {
    return;
  }

  Accumulators<S> acc;
  find_ranges(acc, args, v.view, v.begin, v.count);
  reset(acc);
  const int32_t at = keys.next_tile(begin / S::kKeys * S::kKeys, S::kKeys);
  Partial<S>& carry = partial<S>(grid, part);
  const bool carried = at < end && add_tiles(acc, args, v, keys, at, end, carry, shared);
  add_lanes(acc);
  if (split) {
    store_partial(acc, v.count, carry);
    return;
  }
  if (carried) fold<S, true>(acc, v.count, carry);
  store(acc, args, v.view, v.begin, v.count, v.slice);
}

// Adds the parts of the items that several blocks worked on.
template <class S>
__global__ void __launch_bounds__(kThreads)
    add_parts_kernel(const AttentionArgs args, const Grid grid) {
  __shared__ int32_t limits[4];
  const Vectors v = block_vectors<S>(args, grid);
  if (v.count <= 0) return;
  const ItemKeys keys = item_keys(args, v.view, limits);
  const int first = keys.begin / kPartKeys, last = (keys.end - 1) / kPartKeys;
  if (keys.begin >= keys.end || first == last) return;
  Accumulators<S> acc;
  reset(acc);
  for (int part = first; part <= last; ++part) fold<S, false>(acc, v.count, partial<S>(grid, part));
  store(acc, args, v.view, v.begin, v.count, v.slice);
}

// Many blocks keep the device busy without being split, and so many partials would take too much
// memory.
constexpr int kMaxPartials = 2048;
constexpr int kFewBlocks = 256;

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
  const size_t bytes = sizeof(Shared<S>);
  const cudaError_t error =
      cudaFuncSetAttribute(attention_bf16_kernel<S>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                           static_cast<int>(bytes));
  if (error != cudaSuccess) return error;
  const int kv_heads = args.kv.kv_heads;
  const int blocks = blocks_of<S>(args.heads, kv_heads, args.item_count);
  const int parts = parts_of(args.max_keys);
  if (args.workspace_bytes < workspace<S>(blocks, parts)) return cudaErrorInvalidValue;
  const Grid grid{item_chunks(args.heads, kv_heads, S::kVectors),
                  is_split(blocks, parts) ? parts : 1, args.workspace};
  const dim3 size(static_cast<unsigned>(blocks), S::kSlices, static_cast<unsigned>(grid.parts));
  attention_bf16_kernel<S><<<size, kThreads, bytes, stream>>>(args, grid);
  if (grid.parts > 1)
    add_parts_kernel<S><<<dim3(size.x, size.y), kThreads, 0, stream>>>(args, grid);
  return cudaGetLastError();
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
    return workspace<S>(blocks_of<S>(heads, kv_heads, max_items), parts_of(max_keys));
  });
}

int launch_attention_bf16(const AttentionArgs& args, cudaStream_t stream) {
  return with_shape(args.kv.dim,
                    [&]<class S>(S) { return static_cast<int>(launch<S>(args, stream)); });
}

}  // namespace diffulex::cuda
