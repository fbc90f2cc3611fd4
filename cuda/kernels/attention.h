// Paged block attention on the device: rows of a step against cached and in-flight keys.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

#include "backend/plan.h"
#include "base/dtype.h"

namespace diffulex::cuda {

// Keys and values of one layer. Both places hold the same element type, so it does not matter to
// the result where a key is. All pointers are of the device.
struct KeyValues {
  DType dtype;  // kF32 or kBF16, of everything below
  int32_t kv_heads;
  int32_t dim;          // of a head, a multiple of 8
  int32_t page_size;    // positions
  int32_t flight_rows;  // capacity of flight_*
  void* page_keys;      // [pages, kv_heads, page_size, dim]
  void* page_values;
  void* flight_keys;  // [kv_heads, flight_rows, dim], rows of the step
  void* flight_values;
};

struct AttentionArgs {
  KeyValues kv;
  int32_t heads;           // query heads, a multiple of kv_heads
  int32_t sliding_window;  // 0 = off
  float scale;
  const RequestRow*
      requests;           // of the step: first_token, token_count, context_len, slot, attention
  const int32_t* tables;  // [max_requests, table_stride], page of each position / page_size
  int32_t table_stride;
  const AttentionItem* items;
  int32_t item_count;
  const void* queries;      // [rows, heads, dim] in kv.dtype
  void* out;                // [rows, heads, dim] in kv.dtype; a row that sees no key gets zeros
  int32_t rows;             // of the step; more do no harm
  int32_t max_keys;         // at least context_len + token_count of every request
  int32_t multiprocessors;  // of a device with warpgroup products, 0 where there are none
  void* workspace;          // of the device, aligned to 16 bytes, this launch's alone while it runs
  size_t workspace_bytes;
};

// Query rows of an item: with all heads of a group they make one tile.
int attention_item_rows(int heads, int kv_heads);

// Workspace that suffices for every launch with at most so many items and keys of a request; 0
// where none is needed. Contents need not be kept between launches.
size_t attention_workspace_bytes(DType dtype, int heads, int kv_heads, int dim, int max_items,
                                 int max_keys);

// Whether such a launch in bf16 takes the kernel of attention_warpgroups.h. Results do not tell.
bool attention_by_warpgroups(const AttentionArgs& args);

// Which keys row `position` of a request sees: decide::visible_keys. Results depend neither on the
// page size nor on where a key is: tiles of keys begin at multiples of a constant. Returns a
// cudaError_t; sizes it cannot compute give cudaErrorInvalidValue.
int launch_attention(const AttentionArgs& args, cudaStream_t stream);

}  // namespace diffulex::cuda
