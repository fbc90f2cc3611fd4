// The worked trace of a request with P = 10, b = 4, B = 2, page size 4, 8 pages, step by step, with
// the corrected rules: pages are findable once written, and the request ends as soon as the block
// of the first end token is final.
#include <gtest/gtest.h>

#include <numeric>
#include <set>
#include <string>

#include "step_harness.h"

namespace diffulex::testing {
namespace {

constexpr int32_t kM = kMask, kE = kEosToken;

// Positions accepted in each step; everything else has a confidence below the threshold.
const std::vector<std::set<int32_t>> kAccepted = {{10, 12, 13, 14, 15}, {11}, {},      {16, 18},
                                                  {17, 19, 20},         {21}, {22, 23}};

decide::Pick scripted(uint64_t step, const RequestRow&, int32_t position) {
  const bool accepted = step < kAccepted.size() && kAccepted[step].count(position) != 0;
  return {position == 17 ? kE : 100 + position, accepted ? 0.99f : 0.1f, 0};
}

std::vector<int32_t> prompt10() {
  std::vector<int32_t> prompt(10);
  std::iota(prompt.begin(), prompt.end(), 0);
  return prompt;
}

// Statuses of the window, e.g. "TA": T = TO_CACHE, A = ACTIVE, D = DUMMY.
std::string statuses(const Request& r) {
  std::string out;
  for (int i = 0; i < r.spec.blocks.buffer_blocks; ++i) out += "DATC"[r.window.blocks[i].status];
  return out;
}

std::vector<int32_t> window_of(Request& r) {
  const auto tokens = r.window_tokens();
  return {tokens.begin(), tokens.end()};
}

using V = std::vector<int32_t>;

TEST(WorkedTrace, StepByStep) {
  StepHarness h(small_shape(4, 2, 4, 8), scripted);
  Request* r = h.add(make_spec(h.shape, prompt10(), 32));
  EXPECT_EQ(r->window.left, 8);
  EXPECT_EQ(statuses(*r), "AD");
  EXPECT_EQ(window_of(*r), (V{8, 9, kM, kM, kM, kM, kM, kM}));

  // Step 0: admission and prefill; the padded block has progress 0.5, so a second one opens.
  ASSERT_TRUE(h.step());
  EXPECT_EQ(h.backend.input, (V{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, kM, kM, kM, kM, kM, kM}));
  EXPECT_EQ(h.backend.rows[0].context_len, 0);
  EXPECT_EQ(h.backend.rows[0].store_len, 8);
  EXPECT_EQ(h.backend.rows[0].head_count, 6u);
  EXPECT_EQ(h.backend.table(0), (V{0, 1}));
  EXPECT_EQ(statuses(*r), "AA");
  EXPECT_EQ(window_of(*r), (V{8, 9, 110, kM, 112, 113, 114, 115}));
  EXPECT_EQ(r->window.revealed, 5);
  EXPECT_EQ(r->cached, 8);
  EXPECT_EQ(r->window.committed_end, 10);
  EXPECT_EQ(h.cache->cached_pages(), 2);

  // Step 1: the last mask of block 2; both blocks become final in one sweep.
  ASSERT_TRUE(h.step());
  EXPECT_EQ(h.backend.input, (V{8, 9, 110, kM, 112, 113, 114, 115}));
  EXPECT_EQ(h.backend.rows[0].context_len, 8);
  EXPECT_EQ(h.backend.rows[0].store_len, 0);
  EXPECT_EQ(statuses(*r), "TT");
  EXPECT_EQ(r->window.revealed, 1);
  EXPECT_EQ(output_of(*r), (V{110, 111, 112, 113, 114, 115}));

  // Step 2: only stores; nothing to sample, nothing opens while the buffer is full.
  ASSERT_TRUE(h.step());
  EXPECT_EQ(h.backend.rows[0].head_count, 0u);
  EXPECT_EQ(h.backend.rows[0].store_len, 8);
  EXPECT_EQ(h.backend.table(0), (V{0, 1, 2, 3}));
  EXPECT_EQ(statuses(*r), "DD");
  EXPECT_EQ(r->window.left, 16);
  EXPECT_EQ(r->cached, 16);
  EXPECT_EQ(r->window.denoise_forwards, 2);
  EXPECT_EQ(h.cache->cached_pages(), 4);  // generated pages are findable too

  // Step 3: the head opens; only its four positions are computed.
  ASSERT_TRUE(h.step());
  EXPECT_EQ(h.backend.input, (V{kM, kM, kM, kM}));
  EXPECT_EQ(h.backend.rows[0].context_len, 16);
  EXPECT_EQ(statuses(*r), "AD");
  EXPECT_EQ(window_of(*r), (V{116, kM, 118, kM, kM, kM, kM, kM}));

  // Step 4: a second block opens; the end token falls into block 4, which is final with it: the
  // request ends at once.
  ASSERT_TRUE(h.step());
  EXPECT_EQ(h.backend.input, (V{116, kM, 118, kM, kM, kM, kM, kM}));
  ASSERT_EQ(h.finished.size(), 1u);
  EXPECT_EQ(r->window.finish, decide::kEos);
  EXPECT_EQ(r->window.revealed, 3);
  EXPECT_EQ(r->window.forwards, 5);
  EXPECT_EQ(r->window.first_stop, 17);
  EXPECT_EQ(output_of(*r), (V{110, 111, 112, 113, 114, 115, 116, kE}));
  EXPECT_EQ(h.cache->free_pages(), 8);
  EXPECT_FALSE(h.step());
}

TEST(WorkedTrace, FollowUpFindsThePromptPages) {
  StepHarness h(small_shape(4, 2, 4, 8), scripted);
  h.add(make_spec(h.shape, prompt10(), 32));
  while (h.step()) {
  }
  h.steps = 0;
  Request* r = h.add(make_spec(h.shape, prompt10(), 32));
  ASSERT_TRUE(h.step());
  EXPECT_EQ(r->prefix_hits, 8);
  EXPECT_EQ(h.backend.rows[0].context_len, 8);
  EXPECT_EQ(h.backend.rows[0].store_len, 0);
  EXPECT_EQ(h.backend.input, (V{8, 9, kM, kM, kM, kM, kM, kM}));
  EXPECT_EQ(h.backend.table(0), (V{0, 1}));
}

TEST(WorkedTrace, AlignedPromptFreshAndFullyCached) {
  const auto pick = [](uint64_t, const RequestRow&, int32_t p) {
    return decide::Pick{100 + p, 0.99f, 0};
  };
  StepHarness h(small_shape(4, 2, 4, 16), pick);
  const V prompt = {0, 1, 2, 3, 4, 5, 6, 7};
  Request* r = h.add(make_spec(h.shape, prompt, 8));
  EXPECT_EQ(statuses(*r), "DD");
  ASSERT_TRUE(h.step());
  EXPECT_EQ(h.backend.input, prompt);
  EXPECT_EQ(h.backend.rows[0].head_count, 0u);
  ASSERT_TRUE(h.step());
  EXPECT_EQ(h.backend.input, (V{kM, kM, kM, kM}));
  while (h.step()) {
  }
  // The whole prompt is cached now: no forward is spent on it.
  Request* again = h.add(make_spec(h.shape, prompt, 8));
  ASSERT_TRUE(h.step());
  EXPECT_EQ(again->prefix_hits, 8);
  EXPECT_EQ(h.backend.input, (V{kM, kM, kM, kM}));
  EXPECT_EQ(h.backend.rows[0].head_count, 4u);
}

// Two requests, too few pages: the younger one is preempted with a final but unstored block in its
// window, and both end with the output they would have had alone. The shadow cache checks every
// read.
TEST(WorkedTrace, PreemptionRebuildsExactly) {
  const auto pick = [](uint64_t, const RequestRow& row, int32_t p) {
    return decide::Pick{static_cast<int32_t>(row.sampler.seed) * 100 + p, 0.99f, 0};
  };
  for (const bool caching : {true, false}) {
    EngineShape shape = small_shape(4, 2, 4, 9, 2);
    shape.prefix_caching = caching;
    StepHarness h(shape, pick);
    std::vector<Request*> requests;
    for (int i = 1; i <= 2; ++i) {
      RequestSpec spec = make_spec(h.shape, prompt10(), 22);
      spec.sampler.seed = static_cast<uint64_t>(i);
      requests.push_back(h.add(std::move(spec)));
    }
    int guard = 0;
    while (h.step() && ++guard < 200) {
    }
    EXPECT_GT(h.preemptions, 0u);
    ASSERT_EQ(h.finished.size(), 2u);
    for (int i = 0; i < 2; ++i) {
      V expected;
      for (int p = 10; p < 32; ++p) expected.push_back((i + 1) * 100 + p);
      EXPECT_EQ(output_of(*requests[static_cast<size_t>(i)]), expected);
      EXPECT_EQ(requests[static_cast<size_t>(i)]->window.finish, decide::kMaxTokens);
    }
    EXPECT_EQ(h.cache->free_pages(), 9);
  }
}

// max_tokens counts output tokens; nothing behind the limit is written, no mask is returned.
TEST(WorkedTrace, LimitInsideABlock) {
  const auto pick = [](uint64_t, const RequestRow&, int32_t p) {
    return decide::Pick{100 + p, 0.99f, 0};
  };
  for (int max_tokens = 1; max_tokens <= 12; ++max_tokens) {
    StepHarness h(small_shape(4, 3, 8, 16), pick);
    Request* r = h.add(make_spec(h.shape, prompt10(), max_tokens));
    while (h.step()) {
    }
    V expected;
    for (int p = 10; p < 10 + max_tokens; ++p) expected.push_back(100 + p);
    EXPECT_EQ(output_of(*r), expected);
    EXPECT_EQ(r->window.finish, decide::kMaxTokens);
  }
}

// One token per forward: blocks up to the limit are open long before they are full. max_tokens ends
// the first request, the context of 64 the second.
TEST(WorkedTrace, LimitsWaitForTheLastMask) {
  const auto unsure = [](uint64_t, const RequestRow&, int32_t p) {
    return decide::Pick{100 + p, 0.1f, 0};
  };
  for (const int32_t length : {10, 58}) {
    StepHarness h(small_shape(4, 3, 8, 16), unsure);
    V prompt(static_cast<size_t>(length), 5), expected;
    Request* r = h.add(make_spec(h.shape, std::move(prompt), 9));
    while (h.step()) {
    }
    for (int p = length; p < std::min(length + 9, 64); ++p) expected.push_back(100 + p);
    EXPECT_EQ(output_of(*r), expected);
    EXPECT_EQ(r->window.finish, length == 10 ? decide::kMaxTokens : decide::kContext);
  }
}

}  // namespace
}  // namespace diffulex::testing
