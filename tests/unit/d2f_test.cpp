// Prompts that are read in both directions and computed in one forward, under preemption: every
// position is computed again under the mask it was computed under before. The shadow cache of the
// scripted backend checks each read.
#include <gtest/gtest.h>

#include "step_harness.h"

namespace diffulex::testing {
namespace {

decide::Pick pick(uint64_t, const RequestRow& row, int32_t position) {
  return {static_cast<int32_t>(row.sampler.seed) * 100 + position, 0.99f, 0};
}

TEST(D2f, APreemptedPromptIsComputedAsBefore) {
  for (const int32_t length : {8, 9, 10, 11}) {  // the last block of the prompt is whole, or is not
    EngineShape shape = small_shape(4, 2, 4, 9, 2);
    shape.prefix_caching = false;
    StepHarness h(shape, pick, "d2f");
    std::vector<Request*> requests;
    for (uint64_t seed = 1; seed <= 2; ++seed) {
      std::vector<int32_t> prompt;
      for (int32_t i = 0; i < length; ++i) prompt.push_back(i);
      RequestSpec spec = make_spec(h.shape, std::move(prompt), 22, "d2f");
      spec.sampler.seed = seed;
      requests.push_back(h.add(std::move(spec)));
    }
    for (int guard = 0; guard < 200 && h.step(); ++guard) {
    }
    EXPECT_GT(h.preemptions, 0u);
    ASSERT_EQ(h.finished.size(), 2u);
    for (const Request* r : requests) {
      std::vector<int32_t> expected;
      for (int32_t p = length; p < length + 22; ++p)
        expected.push_back(static_cast<int32_t>(r->spec.sampler.seed) * 100 + p);
      EXPECT_EQ(output_of(*r), expected);
    }
    EXPECT_EQ(h.cache->free_pages(), 9);
  }
}

// A prompt waits until one step has rows for all of it; requests that decode go on meanwhile.
TEST(D2f, APromptIsNotCut) {
  EngineShape shape = small_shape(4, 1, 4, 32, 3);
  shape.prefix_caching = false;
  shape.max_batched_tokens = 24;
  StepHarness h(shape, pick, "d2f");
  std::vector<Request*> requests;
  for (const int32_t length : {17, 18, 19}) {
    std::vector<int32_t> prompt(static_cast<size_t>(length), 5);
    requests.push_back(h.add(make_spec(h.shape, std::move(prompt), 12, "d2f")));
  }
  for (int guard = 0; guard < 200 && h.step(); ++guard) {
    for (const RequestRow& row : h.backend.rows) {
      if (row.context_len > 0) continue;
      EXPECT_GE(static_cast<int32_t>(row.token_count), row.window.prompt_len);
    }
  }
  EXPECT_EQ(h.finished.size(), 3u);
}

}  // namespace
}  // namespace diffulex::testing
