// Which logits a request changes, kept up to date against a plain recount.
#include "engine/logit_adjustments.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>

#include "decide/select.h"

namespace diffulex {
namespace {

constexpr int32_t kMask = 99;

TEST(LogitAdjustments, EqualAPlainRecount) {
  std::mt19937 rng(1);
  for (const float penalty : {1.0f, 1.3f}) {
    const std::vector<decide::LogitAdjust> bias = {{3, 1.5f, 1}, {7, -2.0f, 1}, {50, -INFINITY, 1}};
    LogitAdjustments adjustments(bias, penalty, 200, 8);
    std::vector<int32_t> tokens = {7, 7, 1};
    for (size_t settled = 0; settled < 150; settled += rng() % 3) {
      tokens.resize(settled);
      while (tokens.size() < settled + 8)
        tokens.push_back(rng() % 3 == 0 ? kMask : static_cast<int32_t>(rng() % 40));
      for (size_t i = 0; i < settled; ++i)
        if (tokens[i] == kMask) tokens[i] = 5;  // what is settled has no masks
      adjustments.update(tokens, settled, kMask);
      std::map<int32_t, decide::LogitAdjust> expected;
      for (const auto& b : bias) expected[b.token] = b;
      for (const int32_t token : tokens)
        if (penalty != 1 && token != kMask)
          expected.try_emplace(token, decide::LogitAdjust{token, 0, 1}).first->second.penalty =
              penalty;
      ASSERT_EQ(adjustments.list().size(), expected.size());
      auto at = expected.begin();
      for (const auto& a : adjustments.list()) {
        EXPECT_EQ(a.token, at->second.token);
        EXPECT_EQ(a.bias, at->second.bias);
        EXPECT_EQ(a.penalty, at->second.penalty);
        ++at;
      }
    }
  }
}

TEST(LogitAdjustments, DrawTowardsTheImprobable) {
  EXPECT_EQ(decide::adjusted(4, {0, 0, 2}), 2);
  EXPECT_EQ(decide::adjusted(-4, {0, 0, 2}), -8);
  EXPECT_EQ(decide::adjusted(4, {0, 1, 2}), 3);
  EXPECT_EQ(decide::adjusted(4, {0, -INFINITY, 1}), -INFINITY);
}

}  // namespace
}  // namespace diffulex
