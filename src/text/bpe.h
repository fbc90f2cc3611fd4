// Byte-pair merging of one piece of text.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "text/char_tokens.h"
#include "text/merge_table.h"
#include "text/token_table.h"

namespace diffulex::text {

class Bpe {
 public:
  Bpe(const TokenTable& tokens, const std::array<int32_t, 256>& byte_tokens,
      const std::vector<Merge>& merges)
      : byte_tokens_(byte_tokens),
        merges_(merges),
        char_tokens_(tokens, byte_tokens, merges, merges_) {}

  // Appends the tokens of a piece of valid UTF-8: starting from bytes, the merge of lowest rank,
  // leftmost first, until none is left.
  void encode(std::string_view piece, std::vector<int32_t>& out) const;

 private:
  struct Start {
    int32_t token;
    uint32_t size;  // bytes
  };
  Start start_at(std::string_view piece, size_t pos) const;
  void encode_long(std::string_view piece, std::vector<int32_t>& out) const;

  std::array<int32_t, 256> byte_tokens_;
  MergeTable merges_;
  CharTokens char_tokens_;
};

}  // namespace diffulex::text
