#include "text/merge_table.h"

#include <algorithm>
#include <bit>

namespace diffulex::text {

MergeTable::MergeTable(const std::vector<Merge>& merges)
    : slots_(std::bit_ceil(std::max<size_t>(16, merges.size() + merges.size() / 2)),
             Merge{-1, -1, -1, -1}),
      mask_(slots_.size() - 1) {
  for (const Merge& merge : merges) slots_[slot(merge.left, merge.right)] = merge;
}

}  // namespace diffulex::text
