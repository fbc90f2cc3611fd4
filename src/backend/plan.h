// The plain structs inside a StepPlan (schema/step.fbs) and the result of executing one.
#pragma once

#include <cstdint>
#include <span>
#include <type_traits>

#include "decide/state.h"

namespace diffulex {

// One request of a step. Its rows are the absolute positions [context_len, context_len +
// token_count).
struct alignas(16) RequestRow {
  uint32_t slot;         // resident row of the backend's page table, [0, max_requests)
  uint32_t first_token;  // index of its first row in StepPlan.tokens
  uint32_t token_count;  // rows
  int32_t context_len;   // cached keys: positions [0, context_len)
  int32_t store_len;     // keys and values of the first store_len rows are written to the cache
  uint32_t head_begin;   // its rows in StepPlan.head_rows: [head_begin, head_begin + head_count)
  uint32_t head_count;
  uint32_t table_offset;  // page_count entries from StepPlan.pages[page_begin] replace its page
                          // table from here on
  uint32_t page_begin;
  uint32_t page_count;
  uint32_t adjust_begin;  // its part of StepPlan.adjustments, in entries
  uint32_t adjust_count;
  int32_t window_offset;   // row (within the request) of the window's first position; -1: the
                           // forward ends before the window
  int32_t stored_blocks;   // leading window blocks whose keys and values this forward stores
  int32_t carry_row = -1;  // row (within the request) whose last hidden state the backend keeps for
                           // the next forward's kCarriedRow; -1: none
  decide::AttentionRule attention;
  decide::SamplerParams sampler;
  decide::MultiBlockParams blocks;
  decide::Window window;  // state before the step
};

static_assert(std::is_trivially_copyable_v<RequestRow>);

// Query rows [first, first + count) of the request with index `request`, one KV head at a time.
struct AttentionItem {
  int32_t request;
  int32_t first;
  int32_t count;
};

// In StepPlan.head_rows, as the first of a request whose model shifts (decide::MultiBlockParams::
// shift): the row before the request's first one, which an earlier forward carried over.
inline constexpr int32_t kCarriedRow = -1;

// What a step did. Spans point into buffers of the backend and stay valid until its next call.
struct StepResult {
  std::span<const RequestRow> requests;     // as the step ran
  std::span<const decide::Window> windows;  // [requests], state after the step
  std::span<const int32_t>
      tokens;  // [requests * window_stride]: the window's tokens after the step, masks included
  size_t window_stride = 0;             // buffer_blocks * block_size of the engine
  std::span<const decide::Pick> picks;  // [head_rows], what the sampler saw; RequestRow::head_begin
};

}  // namespace diffulex
