#include "backend/cpu/candidates.h"

#include <algorithm>
#include <cmath>

#include "backend/cpu/workspace.h"

namespace diffulex::cpu {
namespace {

constexpr size_t kRoom = 2 * size_t{kMaxCandidates};

}  // namespace

void CandidateLists::reset(int rows) {
  const auto count = static_cast<size_t>(rows);
  if (rows_.size() < count) {
    rows_.resize(count);
    items_.resize(count * kRoom);
  }
  std::fill(rows_.begin(), rows_.end(), Row{});
}

std::span<decide::Candidate> CandidateLists::list(int row) {
  const auto r = static_cast<size_t>(row);
  return {items_.data() + r * kRoom, static_cast<size_t>(rows_[r].count)};
}

// Keeps the best kMaxCandidates.
void CandidateLists::shrink(int row) {
  const std::span<decide::Candidate> all = list(row);
  std::nth_element(all.begin(), all.begin() + kMaxCandidates - 1, all.end(), decide::before);
  Row& state = rows_[static_cast<size_t>(row)];
  state.count = kMaxCandidates;
  state.floor = all[kMaxCandidates - 1].logit;
  state.full = true;
}

void CandidateLists::offer(int row, const float* logits, int n, int32_t first_id) {
  Row& state = rows_[static_cast<size_t>(row)];
  decide::Candidate* items = items_.data() + static_cast<size_t>(row) * kRoom;
  for (int i = 0; i < n; ++i) {
    if (logits[i] == -INFINITY || (state.full && logits[i] < state.floor)) continue;
    items[state.count++] = {logits[i], first_id + i};
    if (static_cast<size_t>(state.count) == kRoom) shrink(row);
  }
}

std::span<const decide::Candidate> merge_candidates(std::span<CandidateLists> members, int row, int token_count, bool* complete) {
  thread_local std::vector<decide::Candidate> merged;
  merged.clear();
  for (CandidateLists& member : members) {
    const auto list = member.list(row);
    merged.insert(merged.end(), list.begin(), list.end());
  }
  *complete = merged.size() <= static_cast<size_t>(kMaxCandidates) || token_count <= kMaxCandidates;
  const size_t kept = std::min(merged.size(), size_t{kMaxCandidates});
  std::partial_sort(merged.begin(), merged.begin() + static_cast<ptrdiff_t>(kept), merged.end(), decide::before);
  return {merged.data(), kept};
}

}  // namespace diffulex::cpu
