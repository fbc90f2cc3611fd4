// Collects everything that is wrong with a checkpoint, to be told in one error.
#pragma once

#include <string>
#include <vector>

namespace diffulex {

class ProblemList {
 public:
  // tensor may be empty.
  void add(std::string what, std::string tensor);
  bool empty() const noexcept { return problems_.empty(); }

  // Throws Error(DIFFULEX_E_MODEL_FORMAT) unless empty. Long lists are cut: "... and 12 more".
  void check(const std::string& path) const;

 private:
  struct Problem {
    std::string what;
    std::string tensor;
  };
  std::vector<Problem> problems_;
};

}  // namespace diffulex
