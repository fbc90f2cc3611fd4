// What both attention kernels share: an item's place in the step, and which keys its rows see.
#pragma once

#include "cuda/kernels/attention.h"
#include "decide/visibility.h"

namespace diffulex::cuda {

inline constexpr int kItemVectors = 128;  // query rows x heads of a group that an item aims at
inline constexpr int kMaxHeadDim = 512;
inline constexpr float kLog2E = 1.44269504088896340736f;

// The part of a KV head's query vectors that one block works on, and the keys they see. Vector v is
// row v / group, head v % group of the group.
struct ItemView {
  decide::AttentionRule rule;
  const int32_t* pages;
  int32_t context;
  int32_t row;             // of the step, the item's first
  int32_t row_of_context;  // of the step, that of position `context`
  int32_t position;        // of that row
  int32_t span_end;
  int32_t group;
  int32_t head;        // KV head
  int32_t vectors;     // of the whole item
  int64_t first_head;  // of the vectors' first one in queries and out, in heads
};

__device__ inline ItemView view_item(const AttentionArgs& args, int item_index, int head) {
  const AttentionItem item = args.items[item_index];
  const RequestRow& request = args.requests[item.request];
  ItemView v;
  v.rule = request.attention;
  v.pages = args.tables + static_cast<int64_t>(request.slot) * args.table_stride;
  v.row = static_cast<int32_t>(request.first_token) + item.first;
  v.context = request.context_len;
  v.row_of_context = static_cast<int32_t>(request.first_token);
  v.position = request.context_len + item.first;
  v.span_end = request.context_len + static_cast<int32_t>(request.token_count);
  v.group = args.heads / args.kv.kv_heads;
  v.head = head;
  v.vectors = item.count * v.group;
  v.first_head = static_cast<int64_t>(v.row) * args.heads + head * v.group;
  return v;
}

// Element where vector v begins in queries and out. row: v / group.
__device__ inline int64_t vector_element(const AttentionArgs& args, const ItemView& view, int v,
                                         int row) {
  return (view.first_head + static_cast<int64_t>(row) * args.heads + (v - row * view.group)) *
         args.kv.dim;
}

__device__ inline int64_t vector_element(const AttentionArgs& args, const ItemView& view, int v) {
  return vector_element(args, view, v, v / view.group);
}

__device__ inline decide::KeyRange row_range(const AttentionArgs& args, const ItemView& view,
                                             int row) {
  return decide::visible_keys(view.rule, view.position + row, view.context, view.span_end,
                              args.sliding_window);
}

// Keys that some row sees, [begin, end) less the hole, and those that all rows see. The hole is a
// request's, the same for all rows.
struct ItemKeys {
  int32_t begin, end;
  int32_t all_begin, all_end;
  int32_t hole_begin, hole_end;

  // How including rows begins.
  __device__ static ItemKeys of_no_rows() { return {INT32_MAX, 0, 0, INT32_MAX, 0, 0}; }
  // All but the hole.
  __device__ void include(const decide::KeyRange& row) {
    all_begin = max(all_begin, row.begin), all_end = min(all_end, row.end);
    if (row.begin < row.end) begin = min(begin, row.begin), end = max(end, row.end);
  }
  // What the warp's lanes have included together.
  __device__ void join_lanes() {
    begin = __reduce_min_sync(~0u, begin), end = __reduce_max_sync(~0u, end);
    all_begin = __reduce_max_sync(~0u, all_begin), all_end = __reduce_min_sync(~0u, all_end);
  }

  __device__ bool visible(int32_t position) const {
    return position >= begin && position < end && !(position >= hole_begin && position < hole_end);
  }
  // Every row sees all of [at, at + keys).
  __device__ bool whole(int32_t at, int32_t keys) const {
    return at >= all_begin && at + keys <= all_end && (at + keys <= hole_begin || at >= hole_end);
  }
  // The first tile at or behind `at` that is not inside the hole.
  __device__ int32_t next_tile(int32_t at, int32_t keys) const {
    if (at >= hole_begin && at + keys <= hole_end) return hole_end / keys * keys;
    return at;
  }
};

// Called by all threads of a block; shared: 4 values.
__device__ inline ItemKeys item_keys(const AttentionArgs& args, const ItemView& view,
                                     int32_t* shared) {
  const int rows = view.vectors / view.group;
  if (threadIdx.x == 0) shared[0] = INT32_MAX, shared[1] = 0, shared[2] = 0, shared[3] = INT32_MAX;
  __syncthreads();
  ItemKeys keys = ItemKeys::of_no_rows();
  for (int r = static_cast<int>(threadIdx.x); r < rows; r += static_cast<int>(blockDim.x))
    keys.include(row_range(args, view, r));
  keys.join_lanes();
  if (threadIdx.x % 32 == 0 && static_cast<int>(threadIdx.x) < rows) {
    atomicMin(shared + 0, keys.begin);
    atomicMax(shared + 1, keys.end);
    atomicMax(shared + 2, keys.all_begin);
    atomicMin(shared + 3, keys.all_end);
  }
  __syncthreads();
  const decide::KeyRange first = row_range(args, view, 0);
  const bool none = shared[0] >= shared[1];
  return {none ? 0 : shared[0], none ? 0 : shared[1], shared[2], shared[3],
          first.hole_begin,     first.hole_end};
}

// Where a key and its value are, in elements of page_* or flight_*.
struct KeyPlace {
  int64_t element;
  bool cached;
};

// Division by a constant of the launch, for 0 <= n < 2^31: a product and a shift.
struct Divisor {
  uint32_t factor;
  int32_t shift, value;

  __device__ int32_t quotient(int32_t n) const {
    return static_cast<int32_t>(static_cast<uint64_t>(n) * factor >> shift);
  }
};

inline Divisor divisor(int32_t value) {
  int32_t bits = 0;
  while ((int64_t{1} << bits) < value) ++bits;
  const uint64_t power = uint64_t{1} << (31 + bits), by = static_cast<uint64_t>(value);
  return {static_cast<uint32_t>((power + by - 1) / by), 31 + bits, value};
}

// Page of a position, 0 where it is in flight.
__device__ inline int32_t find_page(const ItemView& view, Divisor page_size, int32_t position) {
  return position < view.context ? view.pages[page_size.quotient(position)] : 0;
}

__device__ inline KeyPlace place_key(const KeyValues& kv, const ItemView& view, Divisor page_size,
                                     int32_t position, int32_t page) {
  if (position < view.context) {
    const int64_t line = static_cast<int64_t>(page) * kv.kv_heads + view.head;
    const int32_t offset = position - page_size.quotient(position) * page_size.value;
    return {(line * page_size.value + offset) * kv.dim, true};
  }
  const int64_t line = static_cast<int64_t>(view.head) * kv.flight_rows;
  return {(line + view.row_of_context + position - view.context) * kv.dim, false};
}

// A launch has one block for each item, KV head and chunk of so many of the item's vectors, the
// last item first: it sees most keys, and what starts last should be short.
struct BlockIndex {
  int32_t item, head, chunk;
};

inline int item_chunks(int heads, int kv_heads, int vectors) {
  return (attention_item_rows(heads, kv_heads) * (heads / kv_heads) + vectors - 1) / vectors;
}

__device__ inline BlockIndex block_index(const AttentionArgs& args, int chunks, int block) {
  const int lines = args.kv.kv_heads * chunks;
  const int item = block / lines, line = block - item * lines;
  return {args.item_count - 1 - item, line / chunks, line % chunks};
}

__device__ inline BlockIndex block_index(const AttentionArgs& args, int chunks) {
  return block_index(args, chunks, static_cast<int>(blockIdx.x));
}

int launch_attention_f32(const AttentionArgs& args, cudaStream_t stream);
size_t attention_workspace_bf16(int heads, int kv_heads, int dim, int max_items, int max_keys);
int launch_attention_bf16(const AttentionArgs& args, cudaStream_t stream);

}  // namespace diffulex::cuda
