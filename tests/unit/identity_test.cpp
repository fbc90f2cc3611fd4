// Greedy outputs of tiny-sdar on the CPU backend do not depend on how they were computed: page
// size, batch, chunks of the prompt, prefix cache, preemptions, threads. Tokens, finish reason and
// the number of denoising forwards are compared with those of the request alone, and these with the
// golden ones.
#include <fstream>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
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
// that is cut short; both end inside a block.
const std::vector<Job>& jobs() {
  static const std::vector<Job> all = [] {
    std::vector<Job> made;
    for (const size_t i : kGoldenPrompts)
      made.push_back({"golden " + std::to_string(i), golden_prompt(i)});
    Job joined{"long", {}, 40};
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

  // Prompts in one piece without the prefix cache, and in chunks as small as they get with it.
  static void for_chunks(ModelSetup s, const std::function<void(const ModelSetup&)>& body) {
    body(s);
    s.smallest_batch = s.prefix_caching = true;
    body(s);
  }
};

// The golden outputs were computed in f32.
TEST(IdentityOfF32, AloneAsGolden) {
  for (const int32_t buffer : {1, 2, 4}) {
    const std::string run = "mask_n" + std::to_string(buffer);
    for (size_t i = 0; i < std::size(kGoldenPrompts); ++i) {
      const json& decoded = golden()["prompts"][kGoldenPrompts[i]]["decode"][run];
      const Outcome expected{decoded["ids"].get<std::vector<int32_t>>(), decide::kEos,
                             decoded["denoise_forwards"].get<int32_t>()};
      EXPECT_EQ(plain(DType::kF32, buffer).at(jobs()[i].name), expected);
    }
  }
}

TEST_P(Identity, TheJobsDiffer) {
  const Outcomes& outcomes = plain(setup().dtype, setup().buffer_blocks);
  EXPECT_EQ(outcomes.at("cut").finish, decide::kMaxTokens);
  EXPECT_EQ(outcomes.at("cut").tokens.size(), 21u);
  EXPECT_EQ(outcomes.at("long").finish, decide::kMaxTokens);
  EXPECT_EQ(jobs()[6].prompt.size(), 203u);
}

void at_once(ModelHarness& h) {
  for (const Job& job : jobs()) h.add(job);
  h.run();
}

void reversed(ModelHarness& h) {
  for (size_t i = jobs().size(); i-- > 0;) h.add(jobs()[i]);
  h.run();
}

void in_pairs(ModelHarness& h) {
  for (size_t i = 0; i + 1 < jobs().size(); i += 2) {
    h.add(jobs()[i]);
    h.add(jobs()[i + 1]);
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

// All at once; with the prefix cache also a second time, when it knows the prompts.
TEST_P(Identity, OverPageSizes) {
  for (const int32_t page_size : {8, 16, 32, 64})
    for (const bool caching : {false, true})
      for (const bool smallest : {false, true}) {
        if (smallest && !caching) continue;  // see OverBatches
        ModelSetup s = setup();
        s.page_size = page_size;
        s.prefix_caching = caching;
        s.smallest_batch = smallest;
        ModelHarness h(s);
        at_once(h);
        if (caching) at_once(h);
        expect_plain(h, s);
        for (size_t i = jobs().size(); i < h.count(); ++i)
          EXPECT_EQ(h.request(i).prefix_hits,
                    static_cast<int32_t>(h.job(i).prompt.size()) / page_size * page_size);
      }
}

TEST_P(Identity, OverBatches) {
  for (const int32_t most : {1, 3, 8})
    for (const auto order : {at_once, reversed, in_pairs, staggered}) {
      if (most == 1 && order != reversed) continue;  // one after the other in any case
      ModelSetup batched = setup();
      batched.max_requests = most;
      for_chunks(batched, [&](const ModelSetup& s) {
        ModelHarness h(s);
        order(h);
        expect_plain(h, s);
      });
    }
}

TEST_P(Identity, OverThreads) {
  ModelSetup threaded = setup();
  threaded.threads = 2;
  for_chunks(threaded, [](const ModelSetup& s) {
    ModelHarness h(s);
    staggered(h);
    expect_plain(h, s);
  });
  EXPECT_EQ(run_alone(threaded), plain(threaded.dtype, threaded.buffer_blocks));
}

// The backend runs steps behind one another; once also where memory is short, so that few may.
TEST_P(Identity, OverDeviceSteps) {
  for (const int device_steps : {2, 3, 8, 64})
    for (const bool tight : {false, true}) {
      ModelSetup s = setup();
      s.device_steps = device_steps;
      s.max_requests = tight ? 3 : 8;
      s.page_size = 8;
      s.kv_tokens = tight ? kModelLen + 8 : 0;
      s.prefix_caching = device_steps != 3;
      ModelHarness h(s);
      if (device_steps == 2)
        staggered(h);
      else
        at_once(h);
      if (!tight && s.prefix_caching) at_once(h);
      expect_plain(h, s);
      EXPECT_GT(h.followed, tight ? 0u : h.steps / 4);
    }
}

// Memory for little more than the longest request: the scheduler itself preempts.
TEST_P(Identity, InTightMemory) {
  ModelSetup tight = setup();
  tight.page_size = 8;
  tight.kv_tokens = kModelLen + 8;
  uint64_t preemptions = 0;
  for_chunks(tight, [&](const ModelSetup& s) {
    ModelHarness h(s);
    at_once(h);
    expect_plain(h, s);
    preemptions += h.preempted_by_memory;
  });
  EXPECT_GT(preemptions, 0u);
}

// Every job alone: to step k, its pages taken away, on to the end; for every k.
void preempt_at_any_step(const ModelSetup& s) {
  for (const Job& job : jobs()) {
    if (job.name == "golden 1" || job.name == "golden 30") continue;  // long outputs, nothing new
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
}

TEST_P(Identity, PreemptedAtAnyStep) {
  ModelSetup s = setup();
  s.max_requests = 1;
  s.page_size = 8;
  preempt_at_any_step(s);
  s.prefix_caching = true;
  preempt_at_any_step(s);
}

TEST_P(Identity, PreemptedAtAnyStepOfSmallChunks) {
  ModelSetup s = setup();
  s.max_requests = 1;
  s.smallest_batch = true;
  preempt_at_any_step(s);
}

// The same in a batch: all requests that run, or one of them. There are just enough pages, so that
// those given back are soon written by others.
TEST_P(Identity, PreemptedInABatch) {
  ModelSetup s = setup();
  s.page_size = 8;
  s.kv_tokens = 1000;
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
      h.scheduler.preempt_request(h.request(first + k / 2 % jobs().size()).id);
    h.run();
  }
  EXPECT_EQ(h.preempted_by_memory, 0u);
  expect_plain(h, s);
}

// Now and then all requests lose their pages, or one does, in a setup drawn at random.
void preempt_at_random(ModelSetup s, uint64_t seed) {
  std::mt19937_64 rng(seed);
  const auto below = [&](size_t n) { return static_cast<size_t>(rng() % n); };
  s.page_size = 8 << below(4);
  s.max_requests = std::vector{1, 3, 8}[below(3)];
  s.smallest_batch = below(2) == 0;
  s.prefix_caching = below(2) == 0;
  s.device_steps = below(2) == 0 ? 1 : 2 + static_cast<int>(below(6));
  std::vector<Job> order = jobs();
  for (size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[below(i)]);
  ModelHarness h(s);
  for (const Job& job : order) {
    h.add(job);
    for (size_t steps = below(3); steps > 0; --steps) h.step();
  }
  for (int times = 0; times < 10; ++times) {  // not for ever: a rebuild may need many steps
    for (size_t steps = below(6); steps > 0; --steps) h.step();
    if (below(2) == 0)
      h.scheduler.preempt_all();
    else
      h.scheduler.preempt_request(h.request(below(order.size())).id);
  }
  h.run();
  expect_plain(h, s);
}

TEST_P(Identity, PreemptedAtRandom) {
  const auto first = static_cast<uint64_t>(setup().buffer_blocks) * 100;
  for (uint64_t seed = first; seed < first + 6; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    preempt_at_random(setup(), seed);
  }
}

// Draws are the same under any schedule as well: they are numbered by denoising forwards.
TEST_P(Identity, SampledOverChunks) {
  ModelSetup s = setup();
  s.max_requests = 1;
  Outcome outcomes[2];
  for (const bool smallest : {false, true}) {
    s.smallest_batch = smallest;
    ModelHarness h(s);
    Job job = jobs()[5];
    job.temperature = 0.8f;
    h.add(job);
    h.run();
    outcomes[smallest] = h.outcome(0);
  }
  EXPECT_EQ(outcomes[1], outcomes[0]);
}

std::string name_of(const ::testing::TestParamInfo<std::tuple<DType, int>>& info) {
  const DType dtype = std::get<0>(info.param);
  return std::string(dtype == DType::kF32  ? "F32"
                     : dtype == DType::kI8 ? "I8"
                                           : "Bf16") +
         "Buffer" + std::to_string(std::get<1>(info.param));
}

INSTANTIATE_TEST_SUITE_P(Tiny, Identity,
                         ::testing::Combine(::testing::Values(DType::kF32, DType::kBF16),
                                            ::testing::Values(1, 2, 4)),
                         name_of);
INSTANTIATE_TEST_SUITE_P(TinyInt8, Identity, ::testing::Values(std::tuple(DType::kI8, 2)), name_of);

}  // namespace
}  // namespace diffulex::testing
