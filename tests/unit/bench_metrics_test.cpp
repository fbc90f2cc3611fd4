// The rates that `diffulex bench` prints, on runs small enough to work out by hand.
#include <gtest/gtest.h>

#include "diffulex/metrics.h"

namespace diffulex_command {
namespace {

TEST(BenchMetrics, TwoRequestsInOneStep) {
  const RunMetrics m = measure({{1.0, {{1, 0, 1, true}, {2, 0, 1, true}}}});
  EXPECT_EQ(m.decode_throughput, 2);
  EXPECT_EQ(m.tokens_per_forward, 1);
  EXPECT_EQ(m.per_token_seconds, 0);
}

TEST(BenchMetrics, APromptAndAStep) {
  const RunMetrics m = measure(
      {{0.5, {{1, 8, 0, false}, {2, 8, 0, false}}}, {1.0, {{1, 0, 2, true}, {2, 0, 4, true}}}});
  EXPECT_EQ(m.tokens_per_forward, 3);
  EXPECT_EQ(m.first_token_seconds, 1.5);
  EXPECT_EQ(m.throughput, 4);
  EXPECT_EQ(m.decode_throughput, 6);
  EXPECT_EQ(m.prefill_throughput, 32);
}

TEST(BenchMetrics, PromptsAlone) {
  EXPECT_EQ(measure({{2.0, {{1, 8, 0, false}}}}).prefill_throughput, 4);
  EXPECT_EQ(measure({{2.0, {{1, 8, 0, false}}}}).decode_throughput, 0);
  EXPECT_EQ(measure({}).throughput, 0);
}

TEST(BenchMetrics, TimePerLaterToken) {
  const RunMetrics m =
      measure({{1.0, {{1, 4, 0, true}}}, {2.0, {{1, 0, 2, true}}}, {3.0, {{1, 0, 3, true}}}});
  EXPECT_EQ(m.first_token_seconds, 3);
  EXPECT_EQ(m.per_token_seconds, 0.75);
}

}  // namespace
}  // namespace diffulex_command
