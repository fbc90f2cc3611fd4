// What identity_test.cpp shows of multi_bd, in brief for the other ways to decode: a prompt that is
// read in both directions and must be rebuilt under the masks it was committed with, and rows that
// are carried from one forward to the next. tiny-sdar was trained for neither, so its outputs make
// little sense; they must be the same all the same.
#include <gtest/gtest.h>

#include "model_harness.h"

namespace diffulex::testing {
namespace {

struct Kind {
  const char *name, *strategy, *family;
};
std::ostream& operator<<(std::ostream& out, const Kind& kind) { return out << kind.name; }

std::vector<Job> jobs() {
  std::vector<Job> made;
  for (const size_t length : {5, 24, 61}) {
    Job job{"prompt of " + std::to_string(length), {}, 21 + static_cast<int32_t>(length) % 8};
    for (size_t i = 0; i < length; ++i)
      job.prompt.push_back(static_cast<int32_t>(17 + i * i * 7 % 900));
    job.ignore_eos = true;
    made.push_back(std::move(job));
  }
  return made;
}

class IdentityOf : public ::testing::TestWithParam<Kind> {
 protected:
  static ModelSetup setup() {
    ModelSetup s{.buffer_blocks = 2, .page_size = 8, .max_requests = 3};
    s.strategy = GetParam().strategy;
    s.family = GetParam().family;
    return s;
  }

  static std::vector<Outcome> alone() {
    std::vector<Outcome> outcomes;
    ModelHarness h(setup());
    for (const Job& job : jobs()) {
      const size_t index = h.add(job);
      h.run();
      outcomes.push_back(h.outcome(index));
      EXPECT_EQ(outcomes.back().tokens.size(), static_cast<size_t>(job.max_tokens));
    }
    return outcomes;
  }

  static void expect_alone(const ModelHarness& h, const std::vector<Outcome>& expected,
                           const ModelSetup& s) {
    for (size_t i = 0; i < h.count(); ++i)
      EXPECT_EQ(h.outcome(i), expected[i % expected.size()]) << h.job(i).name << ", " << s;
  }
};

TEST_P(IdentityOf, BatchesPagesChunksAndHits) {
  const std::vector<Outcome> expected = alone();
  const bool whole = std::string_view(GetParam().strategy) == "d2f";
  for (const int32_t page_size : {8, 32}) {
    for (const bool other : {false, true}) {
      ModelSetup s = setup();
      s.page_size = page_size;
      s.prefix_caching = other && !whole;
      s.smallest_batch = other && !whole;
      s.threads = other ? 2 : 1;
      s.device_steps = other ? 5 : 1;
      ModelHarness h(s);
      for (int turn = 0; turn < 2; ++turn) {
        for (const Job& job : jobs()) h.add(job);
        h.run();
      }
      if (s.prefix_caching && page_size == 8) {  // a shifted model computes the last page again
        EXPECT_EQ(h.request(4).prefix_hits, h.request(4).spec.blocks.shift != 0 ? 16 : 24);
      }
      expect_alone(h, expected, s);
    }
  }
}

TEST_P(IdentityOf, DeviceSteps) {
  const std::vector<Outcome> expected = alone();
  for (const int device_steps : {2, 3, 8}) {
    ModelSetup s = setup();
    s.device_steps = device_steps;
    ModelHarness h(s);
    for (const Job& job : jobs()) h.add(job);
    h.run();
    EXPECT_GT(h.followed, h.steps / 4);
    expect_alone(h, expected, s);
  }
}

TEST_P(IdentityOf, PreemptedAtAnyStep) {
  const std::vector<Outcome> expected = alone();
  ModelSetup s = setup();
  s.device_steps = 2;
  ModelHarness h(s);
  bool running = true;
  for (size_t k = 1; running; ++k) {
    const size_t first = h.count();
    for (const Job& job : jobs()) h.add(job);
    for (size_t i = 0; i < k; ++i) h.step();
    running = h.scheduler.running_count() > 0;
    if (k % 2 == 0)
      h.scheduler.preempt_all();
    else
      h.scheduler.preempt_request(h.request(first + k / 2 % 3).id);
    h.run();
  }
  expect_alone(h, expected, s);
}

INSTANTIATE_TEST_SUITE_P(Tiny, IdentityOf,
                         ::testing::Values(Kind{"d2f", "d2f", "llada"},
                                           Kind{"shifted", "multi_bd", "dream"},
                                           Kind{"d2f_shifted", "d2f", "dream"},
                                           Kind{"forced", "multi_bd", "stable_diffcoder"}),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace diffulex::testing
