// Rules of the engine that no other test states by themselves: what a step forwards behind a cached
// prefix, who is admitted, when a request ends and what it gives back.
#include <gtest/gtest.h>

#include <numeric>

#include "step_harness.h"

namespace diffulex::testing {
namespace {

using V = std::vector<int32_t>;

decide::Pick sure(uint64_t, const RequestRow&, int32_t position) {
  return {100 + position % 300, 0.95f, 0};
}

V count_from(int32_t first, size_t n) {
  V v(n);
  std::iota(v.begin(), v.end(), first);
  return v;
}

// 8 of 20 tokens are cached: the step computes positions 8..19 and stores them all; two blocks of 4
// share each page of 8.
TEST(Acceptance, PrefillOfASuffix) {
  StepHarness h(small_shape(4, 2, 8, 32), sure);
  h.add(make_spec(h.shape, count_from(0, 8), 2));
  while (h.step()) {
  }
  Request* r = h.add(make_spec(h.shape, count_from(0, 20), 2));
  ASSERT_TRUE(h.step());
  const RequestRow& row = h.backend.rows[0];
  EXPECT_EQ(r->prefix_hits, 8);
  EXPECT_EQ(h.backend.input, count_from(8, 12));
  EXPECT_EQ(row.context_len, 8);
  EXPECT_EQ(row.store_len, 12);
  EXPECT_EQ(row.head_count, 0u);
  EXPECT_EQ(h.backend.table(row.slot).size(), 3u);  // 20 positions
  EXPECT_EQ(h.backend.table(row.slot)[0], r->pages.pages[0]);
}

// The block that holds the end of the prompt goes along, is read by the sampler and not stored.
TEST(Acceptance, AnUnalignedSuffixTakesItsTailAlong) {
  StepHarness h(small_shape(4, 2, 8, 32), sure);
  h.add(make_spec(h.shape, count_from(0, 8), 2));
  while (h.step()) {
  }
  h.add(make_spec(h.shape, count_from(0, 22), 9));
  ASSERT_TRUE(h.step());
  const RequestRow& row = h.backend.rows[0];
  EXPECT_EQ(row.context_len, 8);
  EXPECT_EQ(row.token_count, 20u);  // 8..19, the tail's block and the one that opened behind it
  EXPECT_EQ(row.store_len, 12);
  EXPECT_EQ(row.window_offset, 12);
  EXPECT_EQ(row.head_count, 6u);
}

TEST(Acceptance, NobodyIsAdmittedBeyondTheCap) {
  StepHarness h(small_shape(4, 1, 4, 64, 2), sure);
  for (int i = 0; i < 3; ++i) h.add(make_spec(h.shape, count_from(10 * i, 4), 12));
  while (h.finished.empty()) {
    ASSERT_TRUE(h.step());
    EXPECT_EQ(h.scheduler->running_count() + h.finished.size(), 2u);
  }
  ASSERT_TRUE(h.step());  // both have ended in that step; now the third one runs
  EXPECT_EQ(h.scheduler->waiting_count(), 0u);
}

// Each limit gives its reason, and the pages come back once.
TEST(Acceptance, EveryLimitHasItsReason) {
  const auto finish = [](const std::function<void(RequestSpec&)>& tune, int max_tokens = 40) {
    StepHarness h(small_shape(4, 2, 4, 16), [](uint64_t, const RequestRow& row, int32_t p) {
      const bool stop = row.sampler.seed == 1 && p == 20;
      return decide::Pick{stop ? kEosToken : row.sampler.seed == 2 ? 7 : p, 0.95f, 0};
    });
    RequestSpec spec = make_spec(h.shape, count_from(0, 10), max_tokens);
    tune(spec);
    h.add(std::move(spec));
    while (h.step()) {
    }
    EXPECT_EQ(h.finished.size(), 1u);
    EXPECT_EQ(h.cache->free_pages(), 16);
    return std::pair(h.finished[0]->window.finish, output_of(*h.finished[0]).size());
  };
  using R = std::pair<int32_t, size_t>;
  EXPECT_EQ(finish([](auto&) {}), R(decide::kMaxTokens, 40));
  EXPECT_EQ(finish([](auto&) {}, 200), R(decide::kContext, 54));
  EXPECT_EQ(finish([](auto& s) { s.sampler.seed = 1; }), R(decide::kEos, 11));
  EXPECT_EQ(finish([](auto& s) { s.sampler.seed = 1, s.blocks.eos_count = 0; }),
            R(decide::kStopToken, 11));
  EXPECT_EQ(finish([](auto& s) { s.sampler.seed = 1, s.blocks.stop_count = 0; }),
            R(decide::kMaxTokens, 40));  // end tokens are ordinary
  EXPECT_EQ(finish([](auto& s) { s.sampler.seed = 2, s.blocks.max_repetition_run = 5; }),
            R(decide::kRepetition, 5));
  EXPECT_EQ(finish([](auto& s) { s.max_forwards = 3; }).first, decide::kMaxSteps);
  // An end token and a limit in the same step: the end token is the reason.
  EXPECT_EQ(finish([](auto& s) { s.sampler.seed = 1; }, 11), R(decide::kEos, 11));
}

TEST(Acceptance, EndTokensOfThePromptDoNotCount) {
  StepHarness h(small_shape(4, 2, 4, 16), sure);
  V prompt = count_from(0, 9);
  prompt[3] = prompt[8] = kEosToken;
  h.add(make_spec(h.shape, prompt, 6));
  while (h.step()) {
  }
  EXPECT_EQ(h.finished[0]->window.finish, decide::kMaxTokens);
  EXPECT_EQ(output_of(*h.finished[0]).size(), 6u);
}

// A limit on forwards is met exactly, however the prompt is cut.
TEST(Acceptance, ForwardsAreLimitedExactly) {
  const auto slow = [](uint64_t, const RequestRow&, int32_t p) {
    return decide::Pick{p, 0.1f, 0};  // one token in each step
  };
  for (const int batch : {8, 64}) {
    EngineShape shape = small_shape(4, 1, 4, 32, 2);
    shape.max_batched_tokens = batch;
    for (int limit = 1; limit < 9; ++limit) {
      StepHarness h(shape, slow);
      RequestSpec spec = make_spec(shape, count_from(0, 18), 30);
      spec.max_forwards = limit;
      h.add(std::move(spec));
      while (h.step()) {
      }
      const decide::Window& w = h.finished[0]->window;
      EXPECT_EQ(w.finish, decide::kMaxSteps);
      EXPECT_EQ(w.window_forwards, limit);
      const int storing = limit >= 8 ? 2 : limit >= 3 ? 1 : 0;  // forwards that fill nothing
      EXPECT_EQ(output_of(*h.finished[0]).size(), static_cast<size_t>(limit - storing));
    }
  }
}

}  // namespace
}  // namespace diffulex::testing
