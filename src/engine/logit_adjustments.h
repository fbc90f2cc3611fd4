// Which logits of a request are changed before a token is chosen: those its bias names and, under a
// repetition penalty, those of tokens that its text already holds.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "decide/state.h"

namespace diffulex {

// Not thread-safe: the engine's owner thread only. Buffers are sized once.
class LogitAdjustments {
 public:
  // bias: by token, ascending, each token once. penalty: 1 = none. longest: positions that the text
  // may ever have. window: positions of it that may still change.
  LogitAdjustments(std::vector<decide::LogitAdjust> bias, float penalty, size_t longest,
                   size_t window);

  // For the text `tokens`, whose first `settled` tokens never change again; masks do not count.
  void update(std::span<const int32_t> tokens, size_t settled, int32_t mask_token);
  // By token, ascending.
  std::span<const decide::LogitAdjust> list() const { return list_; }

 private:
  const float penalty_;
  std::vector<decide::LogitAdjust> bias_;
  std::vector<int32_t> seen_;    // distinct settled tokens, ascending
  size_t settled_ = 0;           // tokens that are in seen_
  std::vector<int32_t> recent_;  // distinct tokens behind them, ascending
  std::vector<decide::LogitAdjust> list_;
};

}  // namespace diffulex
