// A request's row in the step behind a step, when nobody but its own window decides. For host and
// device.
#pragma once

#include "backend/plan.h"
#include "decide/chain.h"

namespace diffulex {

// Writes what the forward computes of a request into its row, which has its window and parameters.
// window_offset: -1 when the forward ends before the window.
DIFFULEX_HD inline void set_part(RequestRow& row, int32_t rows, int32_t store_len,
                                 int32_t window_offset, int32_t stored_blocks) {
  row.token_count = static_cast<uint32_t>(rows);
  row.store_len = store_len;
  row.window_offset = window_offset;
  row.stored_blocks = stored_blocks;
  row.head_count = window_offset < 0 ? 0 : static_cast<uint32_t>(decide::masks_to_fill(row.window));
  row.carry_row = row.blocks.shift != 0 ? store_len - 1 : -1;
}

// Turns the row of a step that covered the window into that of the next one; row.window is what the
// step left. A request that has finished is parked: it gets no rows, and its window stays as it is.
// first_token and head_begin are the caller's: they depend on the rows before this one.
DIFFULEX_HD inline void follow(RequestRow& row) {
  row.context_len = row.window.left;
  row.page_count = 0;
  decide::WindowPart part;
  if (row.window.finish == decide::kRunning)
    part = decide::enter_forward(row.blocks, row.window, true);
  set_part(row, part.rows, part.stored_blocks * row.blocks.block_size, part.rows > 0 ? 0 : -1,
           part.stored_blocks);
}

// The row of the step that the sampler reads for index `at` of a request's window.
DIFFULEX_HD inline int32_t head_row(const RequestRow& row, int32_t at) {
  const int32_t in_request = row.window_offset + at - row.blocks.shift;
  return in_request < 0 ? kCarriedRow : static_cast<int32_t>(row.first_token) + in_request;
}

// Writes those of all masks that the sampler fills, ascending; returns how many. tokens: the
// window's.
inline int32_t write_head_rows(const RequestRow& row, const int32_t* tokens, int32_t* out) {
  const decide::MultiBlockParams& p = row.blocks;
  int32_t* const begin = out;
  for (int slot = 0; row.window_offset >= 0 && slot < row.window.valid; ++slot) {
    const decide::Offsets offsets = decide::sampled_offsets(p, row.window, slot);
    const int32_t first = slot * p.block_size;
    for (int32_t at = first + offsets.begin; at < first + offsets.end; ++at)
      if (tokens[at] == p.mask_token) *out++ = head_row(row, at);
  }
  return static_cast<int32_t>(out - begin);
}

}  // namespace diffulex
