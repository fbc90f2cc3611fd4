// The last steps of an engine, by number.
#pragma once

#include <algorithm>
#include <cstdint>
#include <mutex>
#include <vector>

#include "diffulex.h"

namespace diffulex {

// Thread-safe.
class StepLog {
 public:
  explicit StepLog(uint32_t capacity) : ring_(capacity) {}

  void add(const diffulex_step_stats& stats) {
    const std::lock_guard lock(mutex_);
    ring_[stats.step % ring_.size()] = stats;
    end_ = stats.step + 1;
  }

  // Calls take(index, stats) for remembered steps from `first` on, at most `capacity`; returns how many.
  template <class Take>
  size_t read(uint64_t first, size_t capacity, const Take& take) const {
    const std::lock_guard lock(mutex_);
    const uint64_t oldest = end_ > ring_.size() ? end_ - ring_.size() : 0;
    size_t count = 0;
    for (uint64_t step = std::max(first, oldest); step < end_ && count < capacity; ++step)
      take(count++, ring_[step % ring_.size()]);
    return count;
  }

 private:
  mutable std::mutex mutex_;
  std::vector<diffulex_step_stats> ring_;  // step s at s % capacity
  uint64_t end_ = 0;                       // number of the next step
};

}  // namespace diffulex
