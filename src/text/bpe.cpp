#include "text/bpe.h"

#include <queue>
#include <tuple>

namespace diffulex::text {
namespace {

// A piece of the word in a doubly linked list; id < 0: merged away.
struct Piece {
  int32_t id, previous, next;
};

// A merge that may be done: the lowest rank first, then the leftmost.
struct Candidate {
  int32_t rank, left, left_id, right_id, merged;
  bool operator>(const Candidate& o) const {
    return std::tie(rank, left) > std::tie(o.rank, o.left);
  }
};

}  // namespace

int32_t Bpe::find(std::string_view bytes) const {
  const auto at = ids_.find(bytes);
  return at == ids_.end() ? -1 : at->second;
}

const Bpe::Merge* Bpe::merge_of(int32_t left, int32_t right) const {
  const auto at = merges_.find(key(left, right));
  return at == merges_.end() ? nullptr : &at->second;
}

void Bpe::encode(std::string_view word, std::vector<int32_t>& out) const {
  if (ignore_merges_)
    if (const int32_t whole = find(word); whole >= 0) {
      out.push_back(whole);
      return;
    }
  std::vector<Piece> pieces;
  for (size_t i = 0; i < word.size(); ++i) {
    const int32_t id = find(word.substr(i, 1));
    if (id < 0) continue;  // a byte that the vocabulary lacks
    const auto n = static_cast<int32_t>(pieces.size());
    pieces.push_back({id, n - 1, n + 1});
  }
  if (pieces.empty()) return;
  pieces.back().next = -1;
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> queue;
  const auto offer = [&](int32_t left) {
    if (left < 0 || pieces[static_cast<size_t>(left)].next < 0) return;
    const Piece& a = pieces[static_cast<size_t>(left)];
    const Piece& b = pieces[static_cast<size_t>(a.next)];
    if (const Merge* merge = merge_of(a.id, b.id))
      queue.push({merge->rank, left, a.id, b.id, merge->merged});
  };
  for (int32_t i = 0; i < static_cast<int32_t>(pieces.size()); ++i) offer(i);
  while (!queue.empty()) {
    const Candidate c = queue.top();
    queue.pop();
    Piece& a = pieces[static_cast<size_t>(c.left)];
    if (a.id != c.left_id || a.next < 0 || pieces[static_cast<size_t>(a.next)].id != c.right_id)
      continue;  // out of date
    Piece& b = pieces[static_cast<size_t>(a.next)];
    a.id = c.merged;
    b.id = -1;
    a.next = b.next;
    if (a.next >= 0) pieces[static_cast<size_t>(a.next)].previous = c.left;
    offer(a.previous);
    offer(c.left);
  }
  for (int32_t i = 0; i >= 0; i = pieces[static_cast<size_t>(i)].next)
    out.push_back(pieces[static_cast<size_t>(i)].id);
}

}  // namespace diffulex::text
