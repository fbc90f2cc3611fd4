// The best logits of one row that one member has seen.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "decide/select.h"

namespace diffulex::cpu {

// Keeps the best `limit` of what is added, in decide::before order. Which ones these are does
// not depend on the order of adding. Holds twice as many between prunings. Thread class: one member
// at a time.
class Candidates {
 public:
  explicit Candidates(int limit) : limit_(limit) { list_.reserve(2 * static_cast<size_t>(limit)); }

  void clear() {
    list_.clear();
    dropped_ = false;
    floor_ = -HUGE_VALF;
  }

  void add(const float* logits, int n, int32_t first_id) {
    for (int i = 0; i < n; ++i) {
      if (!(logits[i] >= floor_) || !(logits[i] > -HUGE_VALF)) {
        dropped_ = dropped_ || logits[i] > -HUGE_VALF;
        continue;
      }
      add(decide::Candidate{logits[i], first_id + i});
    }
  }

  void add(const Candidates& other) {
    for (const decide::Candidate& c : other.list_) add(c);
    dropped_ = dropped_ || other.dropped_;
  }

  // Sorts the best `limit` to the front.
  void rank() {
    prune();
    std::sort(list_.begin(), list_.end(), decide::before);
  }
  const decide::Candidate* data() const { return list_.data(); }
  int size() const { return static_cast<int>(list_.size()); }
  bool complete() const { return !dropped_; }  // nothing that counts was left out

 private:
  void add(const decide::Candidate& c) {
    if (list_.size() == list_.capacity()) prune();
    list_.push_back(c);
  }
  void prune() {
    if (list_.size() <= static_cast<size_t>(limit_)) return;
    std::nth_element(list_.begin(), list_.begin() + (limit_ - 1), list_.end(), decide::before);
    list_.resize(static_cast<size_t>(limit_));
    floor_ = list_.back().logit;
    dropped_ = true;
  }

  int limit_;
  std::vector<decide::Candidate> list_;
  float floor_ = -HUGE_VALF;  // anything below it is not among the best
  bool dropped_ = false;
};

}  // namespace diffulex::cpu
