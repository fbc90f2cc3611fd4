#include "text/char_tokens.h"

#include <algorithm>
#include <limits>

#include "text/utf8.h"

namespace diffulex::text {
namespace {

constexpr int32_t kNever = std::numeric_limits<int32_t>::max();

uint8_t first_byte(std::string_view text) { return static_cast<uint8_t>(text.front()); }
uint8_t last_byte(std::string_view text) { return static_cast<uint8_t>(text.back()); }
bool is_ascii(uint8_t byte) { return byte < 0x80; }
bool begins_character(uint8_t byte) { return (byte & 0xC0) != 0x80; }

bool is_in_order(const std::vector<Merge>& merges, const MergeTable& table, size_t token_count) {
  std::vector<int32_t> made(token_count, -1);  // rank of the last merge that makes a token
  for (const Merge& merge : merges) {
    int32_t& rank = made[static_cast<size_t>(merge.result)];
    rank = std::max(rank, merge.rank);
  }
  return std::all_of(merges.begin(), merges.end(), [&](const Merge& merge) {
    const int32_t rank = table.find(merge.left, merge.right)->rank;
    return rank > made[static_cast<size_t>(merge.left)] &&
           rank > made[static_cast<size_t>(merge.right)];
  });
}

// The lowest ranks at which tokens merge with a part of the character before or behind them.
class CrossingRanks {
 public:
  CrossingRanks(const TokenTable& tokens, const std::vector<Merge>& merges)
      : ranks_(static_cast<size_t>(tokens.size()), {kNever, kNever, kNever, kNever}) {
    for (const Merge& merge : merges) {
      const std::string_view left = tokens.bytes(merge.left), right = tokens.bytes(merge.right);
      if (!begins_character(first_byte(right))) continue;
      lower(merge.right, is_ascii(last_byte(left)) ? 0 : 1, merge.rank);
      lower(merge.left, is_ascii(first_byte(right)) ? 2 : 3, merge.rank);
    }
  }

  // With an ASCII character or another before, and with one behind.
  using Ranks = std::array<int32_t, 4>;
  const Ranks& of(int32_t token) const { return ranks_[static_cast<size_t>(token)]; }

 private:
  void lower(int32_t token, size_t neighbor, int32_t rank) {
    int32_t& known = ranks_[static_cast<size_t>(token)][neighbor];
    known = std::min(known, rank);
  }

  std::vector<Ranks> ranks_;
};

// Merges the bytes of one character.
class CharMerger {
 public:
  CharMerger(const std::array<int32_t, 256>& byte_tokens, const MergeTable& table,
             const CrossingRanks& crossing)
      : byte_tokens_(byte_tokens), table_(table), crossing_(crossing) {}

  struct Result {
    int32_t token;     // -1: several are left
    uint32_t unsound;  // the neighbours that could have merged with a part of it
  };

  Result run(std::string_view bytes) {
    symbols_.clear();
    for (const char c : bytes) symbols_.push_back(byte_tokens_[static_cast<uint8_t>(c)]);
    CrossingRanks::Ranks crossing{kNever, kNever, kNever, kNever};
    int32_t greatest = -1;
    while (symbols_.size() > 1) {
      note_crossing(crossing);
      const size_t i = lowest();
      if (i == symbols_.size()) return {-1, 0};
      const Merge& merge = *table_.find(symbols_[i], symbols_[i + 1]);
      greatest = std::max(greatest, merge.rank);
      symbols_[i] = merge.result;
      symbols_.erase(symbols_.begin() + static_cast<std::ptrdiff_t>(i) + 1);
    }
    uint32_t unsound = 0;
    for (size_t k = 0; k < crossing.size(); ++k)
      unsound |= (crossing[k] <= greatest ? 1U : 0U) << k;
    return {symbols_[0], unsound};
  }

 private:
  void note_crossing(CrossingRanks::Ranks& crossing) const {
    const CrossingRanks::Ranks& front = crossing_.of(symbols_.front());
    const CrossingRanks::Ranks& back = crossing_.of(symbols_.back());
    for (size_t k = 0; k < 2; ++k) crossing[k] = std::min(crossing[k], front[k]);
    for (size_t k = 2; k < 4; ++k) crossing[k] = std::min(crossing[k], back[k]);
  }

  // Where the merge of lowest rank is.
  size_t lowest() const {
    size_t best = symbols_.size();
    int32_t best_rank = kNever;
    for (size_t i = 0; i + 1 < symbols_.size(); ++i) {
      const Merge* merge = table_.find(symbols_[i], symbols_[i + 1]);
      if (merge == nullptr || merge->rank >= best_rank) continue;
      best = i;
      best_rank = merge->rank;
    }
    return best;
  }

  const std::array<int32_t, 256>& byte_tokens_;
  const MergeTable& table_;
  const CrossingRanks& crossing_;
  std::vector<int32_t> symbols_;
};

// The code point of text that is one character of several bytes; 0: it is not.
uint32_t only_character(std::string_view text) {
  if (text.size() < 2 || text.size() > 4) return 0;
  const Utf8Unit unit = read_utf8(text, 0);
  return unit.kind == Utf8Unit::kValid && unit.size == text.size() ? unit.code : 0;
}

}  // namespace

// Ranks rise along what a merge is made of, so merging means: for one rank after the other, merge
// every such pair from the left. The merges inside of a character whose ranks all lie below those
// of its parts with a neighbour happen whatever the neighbours are; and what its token merges to
// comes later than they do. So they may come first.
CharTokens::CharTokens(const TokenTable& tokens, const std::array<int32_t, 256>& byte_tokens,
                       const std::vector<Merge>& merges, const MergeTable& table)
    : entries_(kBlock, kNone) {
  static_assert(kAsciiNeighbor == 1 << 0 && kOtherNeighbor == 1 << 1 && kBehindShift == 2);
  if (!is_in_order(merges, table, static_cast<size_t>(tokens.size()))) return;
  const CrossingRanks crossing(tokens, merges);
  CharMerger merger(byte_tokens, table, crossing);
  for (const Merge& merge : merges) {
    const std::string_view bytes = tokens.bytes(merge.result);
    const uint32_t code = only_character(bytes);
    if (code == 0) continue;
    const CharMerger::Result result = merger.run(bytes);
    if (result.token < 0) continue;
    put(code, (static_cast<uint32_t>(result.token) << kFlagBits) | result.unsound);
  }
}

void CharTokens::put(uint32_t code, uint32_t entry) {
  uint32_t& block = blocks_[code / kBlock];
  if (block == 0) {
    block = static_cast<uint32_t>(entries_.size());
    entries_.resize(entries_.size() + kBlock, kNone);
  }
  entries_[block + code % kBlock] = entry;
}

}  // namespace diffulex::text
