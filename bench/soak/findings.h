// What a soak found wrong.
#pragma once

#include <mutex>
#include <string>
#include <utility>
#include <vector>

namespace diffulex_soak {

// Thread class: any thread.
class Findings {
 public:
  static constexpr size_t kKept = 20;  // texts; all of them count

  void expect(bool holds, const std::string& what) {
    if (!holds) add(what);
  }
  void add(std::string what) {
    const std::lock_guard lock(mutex_);
    ++count_;
    if (texts_.size() < kKept) texts_.push_back(std::move(what));
  }
  size_t count() const {
    const std::lock_guard lock(mutex_);
    return count_;
  }
  std::vector<std::string> texts() const {
    const std::lock_guard lock(mutex_);
    return texts_;
  }

 private:
  mutable std::mutex mutex_;  // guards both
  size_t count_ = 0;
  std::vector<std::string> texts_;
};

}  // namespace diffulex_soak
