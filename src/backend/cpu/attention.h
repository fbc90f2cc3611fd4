// Paged block attention: rows of one request against its cached keys (gathered through the page table) and the keys of this
// forward. Keys are walked in tiles at fixed absolute positions, so results do not depend on the page size, on how much is cached,
// or on what else is in the batch.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/dtype.h"
#include "decide/visibility.h"

namespace diffulex::cpu {

inline constexpr int kKeyTile = 64;         // keys of a tile
inline constexpr int kMaxAttentionRows = 128;  // query rows (tokens * heads of a group) of one item

// One piece of work: `tokens` query tokens of one request with all query heads of one KV head.
struct AttentionItem {
  const float* q;        // first token's first head of the group; scaled already
  int64_t q_stride;      // floats between tokens
  int group;             // query heads of the KV head; head h at q + h * head_dim
  int head_dim;
  int tokens;            // tokens * group <= kMaxAttentionRows
  int32_t position;      // of the first token
  // Keys of this forward: position p >= context_len at k_new + (p - context_len) * new_stride, in the cache's type.
  const void* k_new;
  const void* v_new;
  int64_t new_stride;    // elements
  // Cached keys: position p < context_len at k_pages + table[p / page_size] * page_stride + (p % page_size) * head_dim.
  const void* k_pages;
  const void* v_pages;
  int64_t page_stride;   // elements
  const int32_t* table;
  int page_size;
  DType kv_dtype;
  decide::AttentionRule rule;
  int32_t context_len;
  int32_t span_end;      // end of the keys of this forward
  int32_t sliding_window;
  void* out;             // first token's first head; stored as out_dtype
  int64_t out_stride;    // elements between tokens
  DType out_dtype;
};

// Head sizes are padded to whole vectors of every instruction set.
inline int padded_head(int head_dim) { return (head_dim + 63) / 64 * 64; }

// Floats of scratch that one item needs.
size_t attention_scratch(int head_dim);
void attend(const AttentionItem& item, float* scratch);

}  // namespace diffulex::cpu
