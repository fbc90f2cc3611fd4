// Paged block attention: the rows of one request against its cached and in-flight keys, for one KV
// head at a time.
#pragma once

#include <cstddef>
#include <cstdint>

#include "backend/cpu/attention_kernels.h"
#include "backend/cpu/buffer.h"
#include "backend/cpu/kernels.h"
#include "base/dtype.h"
#include "decide/state.h"

namespace diffulex::cpu {

// Keys and values of one layer. Both places hold the same element type, so it does not matter to
// the result where a key is.
struct KeyValues {
  DType dtype = DType::kF32;
  int kv_heads = 0;
  int dim = 0;                     // of a head
  int page_size = 0;               // positions
  int64_t flight_rows = 0;         // capacity of flight_*
  std::byte* page_keys = nullptr;  // [pages, kv_heads, page_size, dim]
  std::byte* page_values = nullptr;
  std::byte* flight_keys = nullptr;  // [kv_heads, flight_rows, dim], rows of the step
  std::byte* flight_values = nullptr;

  size_t in_page(int32_t page, int head, int32_t offset) const {  // in elements
    return ((static_cast<size_t>(page) * static_cast<size_t>(kv_heads) +
             static_cast<size_t>(head)) *
                static_cast<size_t>(page_size) +
            static_cast<size_t>(offset)) *
           static_cast<size_t>(dim);
  }
  size_t in_flight(int64_t row, int head) const {
    return (static_cast<size_t>(head) * static_cast<size_t>(flight_rows) +
            static_cast<size_t>(row)) *
           static_cast<size_t>(dim);
  }
};

// The rows of one request in a step.
struct AttentionRequest {
  int64_t first_row;  // of the step's rows
  int32_t row_count;
  int32_t context_len;
  const int32_t* pages;  // its page table
  decide::AttentionRule rule;
};

// What one layer asks for.
struct AttentionLayer {
  KeyValues kv;
  int heads = 0;  // query heads
  int sliding_window = 0;
  float scale = 0;
  const void* queries = nullptr;  // [rows, heads, dim], AttentionKernels::query_dtype
  RowOut out{};                   // [rows, heads, dim]
};

// Scratch memory of one member.
class AttentionScratch {
 public:
  AttentionScratch() = default;
  AttentionScratch(int max_group, int max_dim);

  size_t bytes() const { return buffer_.bytes(); }

 private:
  friend void attend(const AttentionKernels&, const AttentionLayer&, const AttentionRequest&,
                     int32_t, int32_t, int, const AttentionScratch&);
  Buffer buffer_;
  void* queries_ = nullptr;  // [vectors, dim]
  void* keys_ = nullptr;     // packed tile
  void* values_ = nullptr;   // packed tile
  float* scores_ = nullptr;  // [vectors, kKeyTile]
  void* weights_ = nullptr;  // [vectors, kKeyTile]
  float* out_ = nullptr;     // [vectors, padded dim]
  float* max_ = nullptr;     // [vectors]
  float* sum_ = nullptr;     // [vectors]
  float* decay_ = nullptr;   // [vectors]
};

// Query rows of one work item: all heads of a group are processed together.
int32_t attention_item_rows(int group);

// Rows [first, first + count) of the request for KV head `head`; count <= attention_item_rows(). A
// row that sees no key gets zeros. Tile boundaries are multiples of kKeyTile in absolute position,
// so results depend neither on the page size nor on which keys are cached, nor on what else is in
// the step.
void attend(const AttentionKernels& kernels, const AttentionLayer& layer,
            const AttentionRequest& request, int32_t first, int32_t count, int head,
            const AttentionScratch& scratch);

}  // namespace diffulex::cpu
