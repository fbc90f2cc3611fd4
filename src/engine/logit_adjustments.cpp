#include "engine/logit_adjustments.h"

#include <algorithm>

namespace diffulex {

LogitAdjustments::LogitAdjustments(std::vector<decide::LogitAdjust> bias, float penalty,
                                   size_t longest, size_t window)
    : penalty_(penalty), bias_(std::move(bias)) {
  if (penalty_ == 1) {
    list_ = bias_;
    return;
  }
  seen_.reserve(longest);
  recent_.reserve(window);
  list_.reserve(longest + window + bias_.size());
}

void LogitAdjustments::update(std::span<const int32_t> tokens, size_t settled, int32_t mask_token) {
  if (penalty_ == 1) return;
  for (; settled_ < settled; ++settled_) {
    const auto at = std::lower_bound(seen_.begin(), seen_.end(), tokens[settled_]);
    if (at == seen_.end() || *at != tokens[settled_]) seen_.insert(at, tokens[settled_]);
  }
  recent_.clear();
  for (const int32_t token : tokens.subspan(settled_))
    if (token != mask_token) recent_.push_back(token);
  std::sort(recent_.begin(), recent_.end());

  list_.clear();
  auto seen = seen_.cbegin();
  auto recent = recent_.cbegin();
  auto bias = bias_.cbegin();
  while (seen != seen_.cend() || recent != recent_.cend() || bias != bias_.cend()) {
    decide::LogitAdjust next{INT32_MAX, 0, 1};
    if (seen != seen_.cend()) next.token = std::min(next.token, *seen);
    if (recent != recent_.cend()) next.token = std::min(next.token, *recent);
    if (bias != bias_.cend()) next.token = std::min(next.token, bias->token);
    if (seen != seen_.cend() && *seen == next.token) next.penalty = penalty_, ++seen;
    while (recent != recent_.cend() && *recent == next.token) next.penalty = penalty_, ++recent;
    if (bias != bias_.cend() && bias->token == next.token) next.bias = bias->bias, ++bias;
    list_.push_back(next);
  }
}

}  // namespace diffulex
