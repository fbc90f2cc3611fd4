// Which keys a query row sees: one contiguous range, less at most one hole.
#pragma once

#include "decide/state.h"

namespace diffulex::decide {

struct KeyRange {
  int32_t begin, end;            // absolute key positions
  int32_t hole_begin, hole_end;  // hidden inside it; empty when equal
};

// position: of the query. context_len: cached keys [0, context_len). span_end: end of the keys of
// this forward. sliding_window: of the layer, 0 = off.
DIFFULEX_HD inline KeyRange visible_keys(const AttentionRule& rule, int32_t position,
                                         int32_t context_len, int32_t span_end,
                                         int32_t sliding_window) {
  int32_t end = span_end;
  switch (rule.mode) {
    case kPrefixFull:
      if (position < rule.prompt_len) {
        end = rule.prompt_len;
        break;
      }
      if (position < rule.padded_len) {
        end = rule.padded_len;
        break;
      }
      [[fallthrough]];
    case kBlockCausal:
      end = (position / rule.granularity + 1) * rule.granularity;
      break;
    case kPrefixCausal:
      end = position + 1;
      break;
    case kCacheOnly:
      end = context_len;
      break;
    default:
      break;
  }
  if (end < context_len) end = context_len;  // every mode sees all cached keys
  if (end > span_end) end = span_end;
  int32_t begin = 0;
  if (sliding_window > 0 && position - sliding_window + 1 > 0)
    begin = position - sliding_window + 1;
  if (begin > end) begin = end;
  KeyRange range{begin, end, 0, 0};
  if (rule.hole != 0) {
    range.hole_begin = rule.prompt_len;
    range.hole_end = rule.padded_len < context_len ? rule.padded_len : context_len;
    if (range.hole_end < range.hole_begin) range.hole_end = range.hole_begin;
  }
  return range;
}

}  // namespace diffulex::decide
