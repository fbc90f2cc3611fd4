// Byte-pair merging over byte strings.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace diffulex::text {

// Immutable after it was filled.
class Bpe {
 public:
  // Token texts are raw bytes.
  void add_token(std::string bytes, int32_t id) { ids_.emplace(std::move(bytes), id); }
  int32_t find(std::string_view bytes) const;
  // Merge of rank `rank`: the tokens `left` and `right` become `merged`.
  void add_merge(int32_t left, int32_t right, int32_t rank, int32_t merged) {
    merges_.emplace(key(left, right), Merge{rank, merged});
  }
  void set_ignore_merges(bool on) { ignore_merges_ = on; }

  // Appends the ids of one word. O(n log n).
  void encode(std::string_view word, std::vector<int32_t>& out) const;

 private:
  struct Merge {
    int32_t rank, merged;
  };
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view s) const { return std::hash<std::string_view>()(s); }
  };
  static uint64_t key(int32_t left, int32_t right) {
    return uint64_t{static_cast<uint32_t>(left)} << 32 | static_cast<uint32_t>(right);
  }
  const Merge* merge_of(int32_t left, int32_t right) const;

  std::unordered_map<std::string, int32_t, Hash, std::equal_to<>> ids_;
  std::unordered_map<uint64_t, Merge> merges_;
  bool ignore_merges_ = false;
};

}  // namespace diffulex::text
