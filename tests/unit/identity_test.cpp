// Greedy outputs of tiny-sdar on the CPU backend do not depend on how they were computed: page
// size, batch, chunks of the prompt, prefix cache, preemptions, threads. Tokens, finish reason and
// the number of denoising forwards are compared with those of the request alone, and these with the
// golden ones.
#include <fstream>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <numeric>
#include <random>

#include "model_harness.h"

namespace diffulex::testing {
namespace {

using nlohmann::json;

const json& golden() {
  static const json file =
      json::parse(std::ifstream(std::string(DIFFULEX_TEST_DATA_DIR) + "/tiny-sdar/golden.json"));
  return file;
}

std::vector<int32_t> golden_prompt(size_t index) {
  return golden()["prompts"][index]["prompt_ids"].get<std::vector<int32_t>>();
}

constexpr size_t kGoldenPrompts[] = {0, 1, 9, 10, 20, 30};  // of 56, 61, 31, 24, 40, 34 tokens

// The first ones are golden. The others share prompt pages with them: a long prompt, and an output
// that is cut inside a block.
const std::vector<Job>& jobs() {
  static const std::vector<Job> all = [] {
    std::vector<Job> made;
    for (const size_t i : kGoldenPrompts)
      made.push_back({"golden " + std::to_string(i), golden_prompt(i)});
    Job joined{"long", {}};
    for (const size_t i : {0, 1, 2, 7}) {
      const std::vector<int32_t> part = golden_prompt(i);
      joined.prompt.insert(joined.prompt.end(), part.begin(), part.end());
    }
    made.push_back(std::move(joined));
    made.push_back({"cut", golden_prompt(30), 21});
    return made;
  }();
  return all;
}

using Outcomes = std::map<std::string, Outcome>;  // by the job's name

Outcomes run_alone(const ModelSetup& setup) {
  Outcomes outcomes;
  ModelHarness h(setup);
  for (const Job& job : jobs()) {
    const size_t index = h.add(job);
    h.run();
    outcomes[job.name] = h.outcome(index);
  }
  return outcomes;
}

// Of the plainest run: every request alone in one chunk, nothing cached, one thread.
const Outcomes& plain(DType dtype, int32_t buffer_blocks) {
  static std::map<std::pair<DType, int32_t>, Outcomes> known;
  Outcomes& outcomes = known[{dtype, buffer_blocks}];
  if (outcomes.empty())
    outcomes = run_alone({.dtype = dtype, .buffer_blocks = buffer_blocks, .max_requests = 1});
  return outcomes;
}

void expect_plain(const ModelHarness& h, const ModelSetup& setup) {
  const Outcomes& expected = plain(setup.dtype, setup.buffer_blocks);
  for (size_t i = 0; i < h.count(); ++i)
    EXPECT_EQ(h.outcome(i), expected.at(h.job(i).name)) << h.job(i).name << "; " << setup;
}

class Identity : public ::testing::TestWithParam<std::tuple<DType, int>> {
 protected:
  void SetUp() override {
    if (setup().dtype == DType::kBF16 && cpu::best_weight_dtype() != DType::kBF16)
      GTEST_SKIP() << "no bf16 on this processor";
  }

  // To be changed by the test.
  static ModelSetup setup() {
    return {.dtype = std::get<0>(GetParam()), .buffer_blocks = std::get<1>(GetParam())};
  }

  static void for_caches(ModelSetup s, const std::function<void(const ModelSetup&)>& body) {
    for (const bool smallest : {false, true})
      for (const bool caching : {false, true}) {
        s.smallest_batch = smallest;
        s.prefix_caching = caching;
        body(s);
      }
  }
};

TEST_P(Identity, AloneAsGolden) {
  if (setup().dtype != DType::kF32) GTEST_SKIP() << "the golden outputs were computed in f32";
  const std::string run = "mask_n" + std::to_string(setup().buffer_blocks);
  for (size_t i = 0; i < std::size(kGoldenPrompts); ++i) {
    const json& decoded = golden()["prompts"][kGoldenPrompts[i]]["decode"][run];
    const Outcome expected{decoded["ids"].get<std::vector<int32_t>>(), decide::kEos,
                           decoded["denoise_forwards"].get<int32_t>()};
    EXPECT_EQ(plain(setup().dtype, setup().buffer_blocks).at(jobs()[i].name), expected);
  }
}

TEST_P(Identity, TheJobsDiffer) {
  const Outcomes& outcomes = plain(setup().dtype, setup().buffer_blocks);
  EXPECT_EQ(outcomes.at("cut").finish, decide::kMaxTokens);
  EXPECT_EQ(outcomes.at("cut").tokens.size(), 21u);
  EXPECT_GE(jobs()[6].prompt.size(), 200u);
  EXPECT_GE(outcomes.at("long").tokens.size(), 8u);
}

// All at once, and all at once again, when the cache knows the prompts.
TEST_P(Identity, OverPageSizes) {
  for (const int32_t page_size : {8, 16, 32, 64}) {
    ModelSetup paged = setup();
    paged.page_size = page_size;
    for_caches(paged, [](const ModelSetup& s) {
      ModelHarness h(s);
      for (int time = 0; time < 2; ++time) {
        for (const Job& job : jobs()) h.add(job);
        h.run();
      }
      expect_plain(h, s);
      for (size_t i = jobs().size(); i < h.count(); ++i) {
        const auto whole_pages = static_cast<int32_t>(h.job(i).prompt.size()) / s.page_size;
        EXPECT_EQ(h.request(i).prefix_hits, s.prefix_caching ? whole_pages * s.page_size : 0);
      }
    });
  }
}

void at_once(ModelHarness& h) {
  for (const Job& job : jobs()) h.add(job);
  h.run();
}

void reversed(ModelHarness& h) {
  for (size_t i = jobs().size(); i-- > 0;) h.add(jobs()[i]);
  h.run();
}

// Every request meets every other one.
void in_pairs(ModelHarness& h) {
  for (size_t distance = 1; distance < jobs().size(); distance += 3)
    for (size_t i = 0; i < jobs().size(); ++i) {
      h.add(jobs()[i]);
      h.add(jobs()[(i + distance) % jobs().size()]);
      h.run();
    }
}

void staggered(ModelHarness& h) {
  for (size_t i = 0; i < jobs().size(); ++i) {
    h.add(jobs()[i]);
    for (size_t steps = 0; steps < 1 + i % 3; ++steps) h.step();
  }
  h.run();
}

TEST_P(Identity, OverBatches) {
  for (const int32_t most : {1, 3, 8})
    for (const auto order : {at_once, reversed, in_pairs, staggered}) {
      ModelSetup batched = setup();
      batched.max_requests = most;
      for_caches(batched, [&](const ModelSetup& s) {
        ModelHarness h(s);
        order(h);
        expect_plain(h, s);
      });
    }
}

TEST_P(Identity, OverThreads) {
  for (const int32_t page_size : {8, 64}) {
    ModelSetup threaded = setup();
    threaded.page_size = page_size;
    threaded.threads = 2;
    for_caches(threaded, [](const ModelSetup& s) {
      ModelHarness h(s);
      at_once(h);
      expect_plain(h, s);
    });
    EXPECT_EQ(run_alone(threaded), plain(threaded.dtype, threaded.buffer_blocks));
  }
}

// Memory for little more than the longest request: the scheduler itself preempts.
TEST_P(Identity, InTightMemory) {
  ModelSetup tight = setup();
  tight.page_size = 8;
  tight.kv_tokens = kModelLen + 8;
  uint64_t preemptions = 0;
  for_caches(tight, [&](const ModelSetup& s) {
    ModelHarness h(s);
    at_once(h);
    expect_plain(h, s);
    preemptions += h.preempted_by_memory;
  });
  EXPECT_GT(preemptions, 0u);
}

// Runs to step k, takes all pages away and goes on, for every k.
TEST_P(Identity, PreemptedAtAnyStep) {
  ModelSetup alone = setup();
  alone.max_requests = 1;
  alone.page_size = 8;
  for_caches(alone, [](const ModelSetup& s) {
    for (const Job& job : jobs()) {
      ModelHarness h(s);
      bool preempted = true;
      for (size_t k = 1; preempted; ++k) {
        const size_t index = h.add(job);
        for (size_t i = 0; i < k; ++i) h.step();
        preempted = h.scheduler.preempt_request(h.request(index).id);
        h.run();
        EXPECT_EQ(h.request(index).preemptions, preempted ? 1u : 0u);
      }
      expect_plain(h, s);
    }
  });
}

// The same in a batch: all requests that run, or one of them, at every step.
TEST_P(Identity, PreemptedInABatch) {
  ModelSetup s = setup();
  s.max_requests = 5;
  for (const bool everyone : {false, true}) {
    ModelHarness h(s);
    bool preempted = true;
    for (size_t k = 1; preempted; ++k) {
      const size_t first = h.count();
      for (const Job& job : jobs()) h.add(job);
      for (size_t i = 0; i < k; ++i) h.step();
      preempted = h.scheduler.running_count() > 0;
      if (everyone)
        h.scheduler.preempt_all();
      else
        h.scheduler.preempt_request(h.request(first + k % jobs().size()).id);
      h.run();
    }
    expect_plain(h, s);
  }
}

// Now and then all requests lose their pages, or one does, in setups drawn at random.
TEST_P(Identity, PreemptedAtRandom) {
  for (uint64_t seed = 1; seed <= 24; ++seed) {
    std::mt19937_64 rng(seed);
    const auto below = [&](uint64_t n) { return static_cast<int32_t>(rng() % n); };
    ModelSetup s = setup();
    s.page_size = 8 << below(4);
    s.max_requests = std::vector{1, 3, 8}[static_cast<size_t>(below(3))];
    s.smallest_batch = below(2) == 0;
    s.prefix_caching = below(2) == 0;
    s.threads = 1 + below(2);
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::vector<Job> order = jobs();
    std::shuffle(order.begin(), order.end(), rng);
    ModelHarness h(s);
    for (const Job& job : order) {
      h.add(job);
      for (int32_t steps = below(3); steps > 0; --steps) h.step();
    }
    for (int times = 0; times < 10; ++times) {  // not for ever: a rebuild may need many steps
      for (int32_t steps = below(6); steps > 0; --steps) h.step();
      if (below(2) == 0)
        h.scheduler.preempt_all();
      else
        h.scheduler.preempt_request(h.request(static_cast<size_t>(below(order.size()))).id);
    }
    h.run();
    expect_plain(h, s);
  }
}

std::string name_of(const ::testing::TestParamInfo<std::tuple<DType, int>>& info) {
  return std::string(std::get<0>(info.param) == DType::kF32 ? "F32" : "Bf16") + "Buffer" +
         std::to_string(std::get<1>(info.param));
}

INSTANTIATE_TEST_SUITE_P(Tiny, Identity,
                         ::testing::Combine(::testing::Values(DType::kF32, DType::kBF16),
                                            ::testing::Values(1, 2, 4)),
                         name_of);

}  // namespace
}  // namespace diffulex::testing
