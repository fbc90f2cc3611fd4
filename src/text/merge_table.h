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
    const uint64_t hash = hash_of(left, right);
    if (!may_hold(hash)) return nullptr;
    const Merge& merge = slots_[slot(hash, left, right)];
    return merge.left < 0 ? nullptr : &merge;
  }

 private:
  static uint64_t hash_of(int32_t left, int32_t right) {
    const uint64_t key =
        (static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32) | static_cast<uint32_t>(right);
    return key * 0x9E3779B97F4A7C15ULL;
  }

  // Most pairs do not merge, which the filter tells without touching the slots: it fits a cache.
  bool may_hold(uint64_t hash) const {
    const uint64_t bit = hash >> filter_shift_;
    return (filter_[bit / 64] >> (bit % 64) & 1) != 0;
  }

  // The slot that holds the pair, or the empty one where it belongs.
  size_t slot(uint64_t hash, int32_t left, int32_t right) const {
    size_t i = (hash >> 32) & mask_;
    while (slots_[i].left >= 0 && (slots_[i].left != left || slots_[i].right != right)) {
      i = (i + 1) & mask_;
    }
    return i;
  }

  std::vector<Merge> slots_;  // left < 0: empty
  size_t mask_;
  std::vector<uint64_t> filter_;  // a bit of each pair
  int filter_shift_;
};

}  // namespace diffulex::text
