// How the device benchmark sums up a trace.
#include <gtest/gtest.h>

#include "activity.h"

namespace diffulex_bench {
namespace {

TEST(BenchActivity, NamesAreThoseOfFunctions) {
  EXPECT_EQ(function_name("_ZN8diffulex4cuda12_GLOBAL__N_19attentionILi32EEEvPKfi"), "attention");
  EXPECT_EQ(function_name("_Z4plusfi"), "plus");
  EXPECT_EQ(function_name("copy to the host"), "copy to the host");
  EXPECT_EQ(function_name("nvjet_sm90_tst_64x8"), "nvjet_sm90_tst_64x8");
}

TEST(BenchActivity, BusyIsTheUnionOfWhatOverlaps) {
  const TraceSummary s = summarize(
      {{"b", 2'000, 4'000}, {"a", 1'000, 3'000}, {"c", 1'500, 2'500}, {"a", 6'000, 7'000}}, {500});
  EXPECT_EQ(s.steps, 1);
  EXPECT_DOUBLE_EQ(s.device_ms, 6e-3);  // from 1,000 to 7,000 ns
  EXPECT_DOUBLE_EQ(s.busy_ms, 4e-3);
  EXPECT_NEAR(s.idle_share, 1.0 / 3, 1e-12);
  ASSERT_EQ(s.kernels.size(), 3u);
  // c ends first and counts from the start of all, the first a adds what it took longer.
  EXPECT_EQ(s.kernels[0].count_per_step + s.kernels[1].count_per_step, 3);
  ASSERT_EQ(s.sequence.size(), 4u);
  EXPECT_EQ(s.sequence[0].name, "c");
  EXPECT_DOUBLE_EQ(s.sequence[0].us_per_step, 1.5);
  EXPECT_DOUBLE_EQ(s.sequence[1].us_per_step, 0.5);
  EXPECT_EQ(s.sequence[2].name, "b");
  EXPECT_DOUBLE_EQ(s.sequence[2].us_per_step, 1);
  EXPECT_DOUBLE_EQ(s.sequence[3].us_per_step, 1);
}

TEST(BenchActivity, StepsAreToldApartByTheirBegins) {
  const TraceSummary s = summarize({{"before", 1, 900},
                                    {"a", 1'000, 2'000},
                                    {"a", 10'000, 12'000},
                                    {"b", 12'000, 13'000},
                                    {"a", 20'000, 21'000}},
                                   {950, 9'000, 19'000, 30'000});  // nothing in the last one
  EXPECT_EQ(s.steps, 3);
  EXPECT_DOUBLE_EQ(s.device_ms, 1e-3);
  EXPECT_NEAR(s.busy_ms, 5e-3 / 3, 1e-12);
  EXPECT_NEAR(s.idle_share, 0.75, 1e-12);  // 5 of 20 microseconds
  ASSERT_EQ(s.kernels.size(), 2u);
  EXPECT_NEAR(s.kernels[0].us_per_step, 4.0 / 3, 1e-12);
}

TEST(BenchActivity, ATraceWithoutRecordsHasNoSteps) {
  const TraceSummary s = summarize({}, {100, 200});
  EXPECT_EQ(s.steps, 0);
  EXPECT_EQ(s.busy_ms, 0);
  EXPECT_TRUE(s.kernels.empty());
}

}  // namespace
}  // namespace diffulex_bench
