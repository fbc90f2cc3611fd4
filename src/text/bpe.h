// Byte-pair merging of one piece of text.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>
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

  const Merge* find(int32_t left, int32_t right) const;

 private:
  size_t slot(int32_t left, int32_t right) const;

  std::vector<Merge> slots_;  // left < 0: empty
  size_t mask_;
};

class Bpe {
 public:
  Bpe(const std::array<int32_t, 256>& byte_tokens, const std::vector<Merge>& merges)
      : byte_tokens_(byte_tokens), merges_(merges) {}

  // Appends the tokens of a piece: starting from bytes, the merge of lowest rank, leftmost first,
  // until none is left.
  void encode(std::string_view piece, std::vector<int32_t>& out) const;

 private:
  void encode_short(std::string_view piece, std::vector<int32_t>& out) const;
  void encode_long(std::string_view piece, std::vector<int32_t>& out) const;

  std::array<int32_t, 256> byte_tokens_;
  MergeTable merges_;
};

}  // namespace diffulex::text
