#include "model/problem_list.h"

#include <algorithm>
#include <utility>

#include "base/error.h"

namespace diffulex {

namespace {
constexpr size_t kMaxTold = 20;
}

void ProblemList::add(std::string what, std::string tensor) {
  problems_.push_back({std::move(what), std::move(tensor)});
}

void ProblemList::check(const std::string& path) const {
  if (problems_.empty()) return;
  const size_t told = std::min(problems_.size(), kMaxTold);
  std::string message = path + ": ";
  for (size_t i = 0; i < told; ++i) {
    if (i != 0) message += "; ";
    message += problems_[i].what;
  }
  const size_t rest = problems_.size() - told;
  if (rest != 0) message += "; ... and " + std::to_string(rest) + " more";
  Error error = Error(DIFFULEX_E_MODEL_FORMAT, message).with("path", path);
  for (size_t i = 0; i < told; ++i) {
    if (!problems_[i].tensor.empty()) {
      static_cast<Error&&>(error).with("tensor", problems_[i].tensor);  // in place
    }
  }
  throw error;
}

}  // namespace diffulex
