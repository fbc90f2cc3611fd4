// The merges of a byte-pair encoding by the tokens they merge.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace diffulex::text {

// Two adjacent tokens and what they merge to.
struct Merge {
  int32_t left, right;
  int32_t result;
  int32_t rank;  // lower merges first
};

// A hash table from two tokens to their merge; of several merges of the same two the last counts.
class MergeTable {
 public:
  explicit MergeTable(const std::vector<Merge>& merges);

  const Merge* find(int32_t left, int32_t right) const {
    const Merge& merge = slots_[slot(left, right)];
    return merge.left < 0 ? nullptr : &merge;
  }

 private:
  // The slot that holds the pair, or the empty one where it belongs.
  size_t slot(int32_t left, int32_t right) const {
    const uint64_t key =
        (static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32) | static_cast<uint32_t>(right);
    size_t i = ((key * 0x9E3779B97F4A7C15ULL) >> 32) & mask_;
    while (slots_[i].left >= 0 && (slots_[i].left != left || slots_[i].right != right)) {
      i = (i + 1) & mask_;
    }
    return i;
  }

  std::vector<Merge> slots_;  // left < 0: empty
  size_t mask_;
};

}  // namespace diffulex::text
