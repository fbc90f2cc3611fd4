// A backend that knows how long its steps took: what is left of a step is the host's.
#pragma once

#include <chrono>
#include <string>

#include "backend/backend.h"

namespace diffulex_bench {

// Thread class: as the backend below it, which must outlive it.
class TimedBackend : public diffulex::Backend {
 public:
  explicit TimedBackend(diffulex::Backend& inner) : inner_(inner) {}

  diffulex::StepResult begin(const diffulex::wire::StepPlan& plan, int ahead) override {
    return timed([&] { return inner_.begin(plan, ahead); });
  }
  diffulex::StepResult next(bool more) override {
    return timed([&] { return inner_.next(more); });
  }
  bool worth_following(int32_t rows, int32_t heads, int32_t most) const override {
    return inner_.worth_following(rows, heads, most);
  }
  diffulex::MemoryPlan memory() const override { return inner_.memory(); }
  int64_t kv_pages() const override { return inner_.kv_pages(); }
  std::string kernels() const override { return inner_.kernels(); }

  double milliseconds() const { return spent_.count(); }  // in it, since it was made

 private:
  template <class Call>
  diffulex::StepResult timed(Call&& call) {
    const auto start = std::chrono::steady_clock::now();
    const diffulex::StepResult result = call();
    spent_ += std::chrono::steady_clock::now() - start;
    return result;
  }

  diffulex::Backend& inner_;
  std::chrono::duration<double, std::milli> spent_{};
};

}  // namespace diffulex_bench
