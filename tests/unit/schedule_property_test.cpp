// Random schedules, see schedule_world.h. Every world is named by its seed.
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>

#include "schedule_world.h"

namespace diffulex::testing {
namespace {

WorldCounts run_worlds(uint64_t first_seed, uint64_t requests) {
  WorldCounts counts;
  for (uint64_t seed = first_seed; counts.requests < requests; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    ScheduleWorld world(seed);
    world.run();
    counts += world.counts;
    if (::testing::Test::HasFailure()) break;
  }
  return counts;
}

void expect_everything_occurred(const WorldCounts& c) {
  for (const uint64_t count :
       {c.preemptions, c.hits, c.late, c.repetitions, c.stop_strings, c.stops, c.aborted, c.undone,
        c.turns, c.carried, c.cut, c.followed, c.refused})
    EXPECT_GT(count, c.requests / 1000);
}

// 10 x 2,000 requests.
class Schedules : public ::testing::TestWithParam<int> {};

TEST_P(Schedules, OutputsDoNotDependOnTheSchedule) {
  const auto part = static_cast<uint64_t>(GetParam());
  const WorldCounts counts = run_worlds(1 + part * 1'000'000, 2'000);
  RecordProperty("requests", static_cast<int>(counts.requests));
  expect_everything_occurred(counts);
}

INSTANTIATE_TEST_SUITE_P(Seeds, Schedules, ::testing::Range(0, 10));

// As many as one likes (`make fuzz-schedule`): DIFFULEX_FUZZ_REQUESTS requests from
// DIFFULEX_FUZZ_SEED on.
TEST(ScheduleFuzz, ManyRequests) {
  const char* const requests = std::getenv("DIFFULEX_FUZZ_REQUESTS");
  const char* const from = std::getenv("DIFFULEX_FUZZ_SEED");
  const uint64_t total = requests != nullptr ? std::strtoull(requests, nullptr, 10) : 2'000;
  uint64_t seed = from != nullptr ? std::strtoull(from, nullptr, 10) : 1'000'000'000;
  WorldCounts counts;
  while (counts.requests < total && !HasFailure()) {
    std::printf("from seed %llu: %llu requests\n", static_cast<unsigned long long>(seed),
                static_cast<unsigned long long>(counts.requests));
    counts += run_worlds(seed, std::min<uint64_t>(total - counts.requests, 50'000));
    seed += 1'000'000;
  }
  std::printf("%llu requests, %llu preemptions, %llu prefix hits, %llu aborted\n",
              static_cast<unsigned long long>(counts.requests),
              static_cast<unsigned long long>(counts.preemptions),
              static_cast<unsigned long long>(counts.hits),
              static_cast<unsigned long long>(counts.aborted));
  expect_everything_occurred(counts);
}

}  // namespace
}  // namespace diffulex::testing
