#include "text/bpe.h"

#include <algorithm>
#include <bit>
#include <limits>
#include <queue>
#include <tuple>

namespace diffulex::text {
namespace {

constexpr size_t kShort = 32;  // up to here scanning beats a heap
constexpr int32_t kNoRank = std::numeric_limits<int32_t>::max();
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

}  // namespace

MergeTable::MergeTable(const std::vector<Merge>& merges)
    : slots_(std::bit_ceil(std::max<size_t>(16, merges.size() + merges.size() / 2)),
             Merge{-1, -1, -1, kNoRank}),
      mask_(slots_.size() - 1) {
  for (const Merge& merge : merges) slots_[slot(merge.left, merge.right)] = merge;
}

// The slot that holds the pair, or the empty one where it belongs.
size_t MergeTable::slot(int32_t left, int32_t right) const {
  const uint64_t key =
      (static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32) | static_cast<uint32_t>(right);
  size_t i = ((key * 0x9E3779B97F4A7C15ULL) >> 32) & mask_;
  while (slots_[i].left >= 0 && (slots_[i].left != left || slots_[i].right != right)) {
    i = (i + 1) & mask_;
  }
  return i;
}

const Merge* MergeTable::find(int32_t left, int32_t right) const {
  const Merge& merge = slots_[slot(left, right)];
  return merge.left < 0 ? nullptr : &merge;
}

void Bpe::encode(std::string_view piece, std::vector<int32_t>& out) const {
  if (piece.size() <= kShort) {
    encode_short(piece, out);
  } else {
    encode_long(piece, out);
  }
}

void Bpe::encode_short(std::string_view piece, std::vector<int32_t>& out) const {
  std::array<int32_t, kShort> tokens{};
  std::array<const Merge*, kShort> next{};  // the merge of a token with the one behind it
  size_t count = piece.size();
  for (size_t i = 0; i < count; ++i) tokens[i] = byte_tokens_[static_cast<uint8_t>(piece[i])];
  const auto look_up = [&](size_t i) {
    next[i] = i + 1 < count ? merges_.find(tokens[i], tokens[i + 1]) : nullptr;
  };
  for (size_t i = 0; i < count; ++i) look_up(i);
  while (true) {
    size_t best = count;
    int32_t best_rank = kNoRank;
    for (size_t i = 0; i + 1 < count; ++i) {
      if (next[i] != nullptr && next[i]->rank < best_rank) {
        best = i;
        best_rank = next[i]->rank;
      }
    }
    if (best == count) break;
    tokens[best] = next[best]->result;
    std::copy(tokens.begin() + best + 2, tokens.begin() + count, tokens.begin() + best + 1);
    std::copy(next.begin() + best + 2, next.begin() + count, next.begin() + best + 1);
    --count;
    look_up(best);
    if (best > 0) look_up(best - 1);
  }
  out.insert(out.end(), tokens.begin(), tokens.begin() + count);
}

void Bpe::encode_long(std::string_view piece, std::vector<int32_t>& out) const {
  const auto count = static_cast<uint32_t>(piece.size());
  std::vector<Symbol> symbols(count);
  for (uint32_t i = 0; i < count; ++i) {
    symbols[i] = {byte_tokens_[static_cast<uint8_t>(piece[i])], i == 0 ? kNone : i - 1,
                  i + 1 == count ? kNone : i + 1};
  }
  HeapMerger(merges_, symbols).run();
  for (uint32_t i = 0; i != kNone; i = symbols[i].next) out.push_back(symbols[i].token);
}

}  // namespace diffulex::text
