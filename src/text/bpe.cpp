#include "text/bpe.h"

#include <algorithm>
#include <limits>
#include <queue>
#include <tuple>

#include "text/utf8.h"

namespace diffulex::text {
namespace {

constexpr size_t kShort = 32;  // symbols; up to here scanning beats a heap
constexpr uint32_t kNone = std::numeric_limits<uint32_t>::max();

struct Symbol {
  int32_t token;  // -1: merged into the symbol before it
  uint32_t previous, next;
};

// A merge that was possible when it was queued.
struct Candidate {
  int32_t rank;
  uint32_t position;  // of the left symbol
  int32_t left, right, result;

  bool operator<(const Candidate& other) const {  // the top of a priority queue is the greatest
    return std::tie(other.rank, other.position) < std::tie(rank, position);
  }
};

// Merges a long piece in O(n log n).
class HeapMerger {
 public:
  HeapMerger(const MergeTable& merges, std::vector<Symbol>& symbols)
      : merges_(merges), symbols_(symbols) {
    for (uint32_t i = 0; i + 1 < symbols_.size(); ++i) offer(i);
  }

  void run() {
    while (!queue_.empty()) {
      const Candidate best = queue_.top();
      queue_.pop();
      if (is_current(best)) merge(best);
    }
  }

 private:
  void offer(uint32_t position) {
    const Symbol& symbol = symbols_[position];
    if (symbol.next == kNone) return;
    const Merge* merge = merges_.find(symbol.token, symbols_[symbol.next].token);
    if (merge != nullptr) {
      queue_.push({merge->rank, position, merge->left, merge->right, merge->result});
    }
  }

  bool is_current(const Candidate& candidate) const {
    const Symbol& symbol = symbols_[candidate.position];
    return symbol.token == candidate.left && symbol.next != kNone &&
           symbols_[symbol.next].token == candidate.right;
  }

  void merge(const Candidate& candidate) {
    Symbol& left = symbols_[candidate.position];
    Symbol& right = symbols_[left.next];
    left.token = candidate.result;
    left.next = right.next;
    right.token = -1;
    if (left.next != kNone) symbols_[left.next].previous = candidate.position;
    if (left.previous != kNone) offer(left.previous);
    offer(candidate.position);
  }

  const MergeTable& merges_;
  std::vector<Symbol>& symbols_;
  std::priority_queue<Candidate> queue_;
};

// Merges a short piece: its symbols stay where they are and are linked.
class ShortMerger {
 public:
  explicit ShortMerger(const MergeTable& merges) : merges_(merges) {}

  // Whether there was room.
  bool add(int32_t token) {
    if (count_ == kShort) return false;
    tokens_[count_++] = token;
    return true;
  }

  void run(std::vector<int32_t>& out) {
    for (uint32_t i = 0; i < count_; ++i) {
      previous_[i] = static_cast<uint8_t>(i - 1);
      next_[i] = static_cast<uint8_t>(i + 1);
    }
    for (uint32_t i = 0; i < count_; ++i) look_up(i);
    while (merge_lowest()) {
    }
    for (uint32_t i = 0; i < count_; i = next_[i]) out.push_back(tokens_[i]);
  }

 private:
  static constexpr uint64_t kNoMerge = std::numeric_limits<uint64_t>::max();
  static constexpr unsigned kPositionBits = 5;
  static_assert(kShort == 1U << kPositionBits);

  // Ranks with positions below them: the lowest key is the leftmost merge of lowest rank.
  void look_up(uint32_t i) {
    keys_[i] = kNoMerge;
    if (next_[i] >= count_) return;
    const Merge* merge = merges_.find(tokens_[i], tokens_[next_[i]]);
    if (merge == nullptr) return;
    keys_[i] = (static_cast<uint64_t>(merge->rank) << kPositionBits) | i;
    merged_[i] = merge->result;
  }

  bool merge_lowest() {
    uint64_t lowest = kNoMerge;
    for (uint32_t i = 0; i < count_; ++i) lowest = std::min(lowest, keys_[i]);
    if (lowest == kNoMerge) return false;
    const auto left = static_cast<uint32_t>(lowest % kShort);
    const uint32_t right = next_[left];
    tokens_[left] = merged_[left];
    keys_[right] = kNoMerge;
    next_[left] = next_[right];
    if (next_[left] < count_) previous_[next_[left]] = static_cast<uint8_t>(left);
    look_up(left);
    if (left > 0) look_up(previous_[left]);
    return true;
  }

  const MergeTable& merges_;
  uint32_t count_ = 0;
  std::array<int32_t, kShort> tokens_;
  std::array<int32_t, kShort> merged_;  // what a symbol and the next one merge to
  std::array<uint64_t, kShort> keys_;
  std::array<uint8_t, kShort> previous_, next_;
};

Neighbor neighbor(std::string_view piece, size_t pos) {
  if (pos >= piece.size()) return kNoNeighbor;
  return static_cast<uint8_t>(piece[pos]) < 0x80 ? kAsciiNeighbor : kOtherNeighbor;
}

}  // namespace

Bpe::Start Bpe::start_at(std::string_view piece, size_t pos) const {
  const auto byte = static_cast<uint8_t>(piece[pos]);
  if (byte >= 0xC0) {
    const Utf8Unit unit = read_valid_utf8(piece, pos);
    const Neighbor before = pos == 0 ? kNoNeighbor : neighbor(piece, pos - 1);
    const int32_t token = char_tokens_.find(unit.code, before, neighbor(piece, pos + unit.size));
    if (token >= 0) return {token, unit.size};
  }
  return {byte_tokens_[byte], 1};
}

void Bpe::encode(std::string_view piece, std::vector<int32_t>& out) const {
  ShortMerger merger(merges_);
  for (size_t pos = 0; pos < piece.size();) {
    const Start start = start_at(piece, pos);
    if (!merger.add(start.token)) {
      encode_long(piece, out);
      return;
    }
    pos += start.size;
  }
  merger.run(out);
}

void Bpe::encode_long(std::string_view piece, std::vector<int32_t>& out) const {
  std::vector<Symbol> symbols;
  symbols.reserve(piece.size());
  for (size_t pos = 0; pos < piece.size();) {
    const Start start = start_at(piece, pos);
    const auto i = static_cast<uint32_t>(symbols.size());
    symbols.push_back({start.token, i == 0 ? kNone : i - 1, i + 1});
    pos += start.size;
  }
  if (symbols.empty()) return;
  symbols.back().next = kNone;
  HeapMerger(merges_, symbols).run();
  for (uint32_t i = 0; i != kNone; i = symbols[i].next) out.push_back(symbols[i].token);
}

}  // namespace diffulex::text
