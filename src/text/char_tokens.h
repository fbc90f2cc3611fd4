// Characters whose bytes merge to one token before any of them merges with a neighbour's. Merging
// may start from that token: most text of other alphabets than Latin takes a third of the time.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "text/merge_table.h"
#include "text/token_table.h"

namespace diffulex::text {

// What stands next to a character inside of the piece. Bits of a mask.
enum Neighbor : uint32_t { kNoNeighbor = 0, kAsciiNeighbor = 1, kOtherNeighbor = 2 };

class CharTokens {
 public:
  // Finds none where the argument for them does not hold: unless merges come after those that make
  // what they merge.
  CharTokens(const TokenTable& tokens, const std::array<int32_t, 256>& byte_tokens,
             const std::vector<Merge>& merges, const MergeTable& table);

  // The token of a character; -1: its bytes may merge otherwise. `code` is at most U+10FFFF.
  int32_t find(uint32_t code, Neighbor before, Neighbor behind) const {
    const uint32_t entry = entries_[blocks_[code / kBlock] + code % kBlock];
    const uint32_t unsound = before | (behind << kBehindShift);
    return entry == kNone || (entry & unsound) != 0 ? -1 : static_cast<int32_t>(entry >> kFlagBits);
  }

 private:
  static constexpr uint32_t kBlock = 64;
  static constexpr uint32_t kEnd = 0x110000;
  static constexpr uint32_t kBehindShift = 2;
  static constexpr uint32_t kFlagBits = 4;  // the neighbours next to which a token is not sound
  static constexpr uint32_t kNone = 0xFFFFFFFF;

  void put(uint32_t code, uint32_t entry);

  std::array<uint32_t, kEnd / kBlock> blocks_{};  // begins in entries_; the first one is empty
  std::vector<uint32_t> entries_;
};

}  // namespace diffulex::text
