// Random schedules over a scripted backend: pages and blocks of several ratios, tight and ample
// memory, caching on and off, shared prompts, aborts, priorities, deadlines, repetitions, end
// tokens. The shadow cache checks every read; every output must equal the one of the request alone.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>

#include "step_harness.h"

namespace diffulex::testing {
namespace {

uint64_t mix(uint64_t x) {
  x ^= x >> 31;
  x *= 0x9E3779B97F4A7C15u;
  return x ^ (x >> 29);
}

// What a model would say depends on the request's tokens only through its seed and the position, so
// that the expected output is known; how confident it is depends on how often it was asked, so that
// blocks fill in many orders.
decide::Pick pick_for(uint64_t, const RequestRow& row, int32_t position) {
  const uint64_t h = mix(row.sampler.seed * 1000 + static_cast<uint64_t>(position));
  const bool end = h % 61 == 0;
  const uint64_t words = row.sampler.seed == 3 ? 3 : 500;  // few words repeat themselves
  const auto token = static_cast<int32_t>(end ? static_cast<uint64_t>(kEosToken) : h % words);
  const bool confident = mix(h + static_cast<uint64_t>(row.window.forwards)) % 3 != 0;
  return {token, confident ? 0.95f : 0.2f + static_cast<float>(h % 7) * 0.01f, 0};
}

struct Expected {
  std::vector<int32_t> output;
  int32_t finish = 0;
};

Expected expected_of(uint64_t seed, const RequestSpec& spec) {
  Expected expected{{}, spec.limit_reason};
  RequestRow row{};
  row.sampler.seed = seed;
  int run = 0;
  for (auto p = static_cast<int32_t>(spec.prompt.size()); p < spec.limit; ++p) {
    const int32_t token = pick_for(0, row, p).token;
    run = !expected.output.empty() && expected.output.back() == token ? run + 1 : 1;
    expected.output.push_back(token);
    if (token == kEosToken) return {expected.output, decide::kEos};
    if (run == spec.blocks.max_repetition_run) return {expected.output, decide::kRepetition};
  }
  return expected;
}

// Invariants of one request between steps.
void check_request(const Request& r) {
  const auto& w = r.window;
  const int32_t b = r.block_size();
  ASSERT_EQ(w.left % b, 0);
  ASSERT_LE(r.cached, w.left);
  int stage = 0;  // T* A* D*
  for (int i = 0; i < r.spec.blocks.buffer_blocks; ++i) {
    const int rank = w.blocks[i].status == decide::kToCache  ? 0
                     : w.blocks[i].status == decide::kActive ? 1
                                                             : 2;
    ASSERT_NE(w.blocks[i].status, decide::kInCache);
    ASSERT_GE(rank, stage);
    stage = rank;
    ASSERT_EQ(rank != 2, i < w.valid);
  }
}

class Schedules : public ::testing::TestWithParam<int> {};

TEST_P(Schedules, OutputsDoNotDependOnTheSchedule) {
  std::mt19937_64 rng(static_cast<uint64_t>(GetParam()));
  const auto below = [&](uint64_t n) { return static_cast<int32_t>(rng() % n); };
  uint64_t preemptions = 0, hits = 0, finished = 0, late = 0, repetitions = 0;
  for (int round = 0; round < 40; ++round) {
    const int b = 4, ps = b << below(3), buffer = 1 + below(6), most = 1 + below(5);
    EngineShape shape = small_shape(b, buffer, ps, 0, most);
    const int one = (shape.max_model_len + ps - 1) / ps;
    shape.kv_pages = one + below(2) * below(static_cast<uint64_t>(one) * 3);
    shape.max_batched_tokens = most * b * buffer + below(3) * 8;
    shape.prefix_caching = below(2) == 0;
    StepHarness h(shape, pick_for);
    std::map<uint64_t, Expected> expected;
    std::vector<Request*> live;
    const int count = 4 + below(10);
    int submitted = 0;
    for (int guard = 0; guard < 5000; ++guard) {
      if (submitted < count && below(2) == 0) {
        const uint64_t seed = 1 + static_cast<uint64_t>(below(3));  // few seeds: prompts are shared
        std::vector<int32_t> prompt;
        const int32_t length = 1 + below(30);
        for (int32_t i = 0; i < length; ++i)
          prompt.push_back(static_cast<int32_t>(mix(seed + static_cast<uint64_t>(i)) % 500));
        RequestSpec spec = make_spec(shape, std::move(prompt), 1 + below(60));
        spec.sampler.seed = seed;
        spec.priority = below(4) == 0 ? below(5) - 2 : 0;
        spec.deadline_ns = below(8) == 0 ? h.steps + 1 + static_cast<uint64_t>(below(20)) : 0;
        spec.blocks.max_repetition_run = below(2) == 0 ? 2 + below(3) : 0;
        const Expected whole = expected_of(seed, spec);
        Request* r = h.add(std::move(spec));
        expected[r->id] = whole;
        live.push_back(r);
        ++submitted;
      }
      while (auto r = h.scheduler->remove_late(h.steps)) {  // the clock counts steps
        r->cut_short(decide::kDeadline);
        h.finished.push_back(std::move(r));
        ++late;
      }
      const bool worked = h.step();
      for (const Request* r : live)
        if (r->phase != Phase::kFinished) check_request(*r);
      std::erase_if(live, [](const Request* r) { return r->phase == Phase::kFinished; });
      if (!live.empty() && below(60) == 0) {
        expected.erase(live.back()->id);
        h.scheduler->remove(live.back()->id);
        live.pop_back();
      }
      if (!worked && submitted == count) break;
    }
    ASSERT_TRUE(live.empty()) << "no progress";
    ASSERT_EQ(h.finished.size(), expected.size());
    for (const auto& r : h.finished) {
      std::vector<int32_t> whole = expected[r->id].output;
      const std::vector<int32_t> output = output_of(*r);
      if (r->window.finish == decide::kDeadline)
        whole.resize(std::min(whole.size(), output.size()));
      else
        EXPECT_EQ(r->window.finish, expected[r->id].finish);
      EXPECT_EQ(output, whole) << "seed " << GetParam() << " round " << round;
      repetitions += r->window.finish == decide::kRepetition ? 1 : 0;
    }
    EXPECT_EQ(h.cache->free_pages(), shape.kv_pages);
    preemptions += h.preemptions;
    finished += h.finished.size();
    for (const auto& r : h.finished) hits += r->prefix_hits > 0 ? 1 : 0;
  }
  RecordProperty("finished", static_cast<int>(finished));
  EXPECT_GT(preemptions, 0u);  // the interesting cases did occur
  EXPECT_GT(hits, 0u);
  EXPECT_GT(late, 0u);
  EXPECT_GT(repetitions, 0u);
}

INSTANTIATE_TEST_SUITE_P(Seeds, Schedules, ::testing::Range(1, 26));

}  // namespace
}  // namespace diffulex::testing
