#include "text/merge_table.h"

#include <algorithm>
#include <bit>

namespace diffulex::text {

MergeTable::MergeTable(const std::vector<Merge>& merges)
    : slots_(std::bit_ceil(std::max<size_t>(16, merges.size() + merges.size() / 2)),
             Merge{-1, -1, -1, -1}),
      mask_(slots_.size() - 1),
      filter_(slots_.size() * 4 / 64),
      filter_shift_(64 - std::countr_zero(slots_.size() * 4)) {
  for (const Merge& merge : merges) {
    const uint64_t hash = hash_of(merge.left, merge.right);
    slots_[slot(hash, merge.left, merge.right)] = merge;
    const uint64_t bit = hash >> filter_shift_;
    filter_[bit / 64] |= uint64_t{1} << (bit % 64);
  }
}

}  // namespace diffulex::text
