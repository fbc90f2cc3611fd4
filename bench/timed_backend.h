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

  diffulex::StepResult execute(const diffulex::wire::StepPlan& plan) override {
    const auto start = std::chrono::steady_clock::now();
    const diffulex::StepResult result = inner_.execute(plan);
    spent_ += std::chrono::steady_clock::now() - start;
    return result;
  }
  diffulex::MemoryPlan memory() const override { return inner_.memory(); }
  std::string kernels() const override { return inner_.kernels(); }

  double milliseconds() const { return spent_.count(); }  // in execute(), since it was made

 private:
  diffulex::Backend& inner_;
  std::chrono::duration<double, std::milli> spent_{};
};

}  // namespace diffulex_bench
