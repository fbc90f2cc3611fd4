// What outputs depend on, and what they do not: prefixes, pages, company, steps in a row, seeds.
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "engine_question.h"

namespace diffulex_tests {
namespace {

// A second request with the same prompt and a second turn of a conversation forward only what the
// cache lacks.
TEST(Engine, PrefixCachingForwardsOnlyWhatIsNew) {
  Session session(Options{{"page_size", "8"}, {"buffer_blocks", "1"}},
                  {{"accept_threshold", "0.9"}});
  ASSERT_NE(session.engine, nullptr);
  const std::string prompt = question(session);
  const diffulex_request_id cold = session.submit_text(prompt);
  session.run();
  const diffulex_request_id warm = session.submit_text(prompt);
  session.run();
  const auto a = session.info(cold), b = session.info(warm);
  const uint32_t aligned = a.prompt_len / 8 * 8;
  EXPECT_EQ(a.cached_len, 0u);
  EXPECT_EQ(b.cached_len, aligned);
  EXPECT_EQ(a.forwarded_tokens - b.forwarded_tokens, aligned);
  EXPECT_EQ(session.tokens(cold), session.tokens(warm));

  const std::string second = session.chat(
      {{"user", kQuestion}, {"assistant", session.text(cold)}, {"user", "Sort the list: 9, 3, 5"}});
  const diffulex_request_id turn = session.submit_text(second);
  session.run();
  const auto c = session.info(turn);
  // Everything up to the block that holds the end token was stored while the first turn was
  // decoded.
  const uint32_t stored = (a.prompt_len + a.committed_len - 1) / 8 * 8;
  EXPECT_EQ(c.cached_len, stored);

  // The same turn without any cache computes exactly the cached positions more.
  const auto params = params_of(512, DIFFULEX_REQUEST_NO_CACHE);
  const diffulex_request_id fresh = session.submit_text(second, &params);
  session.run();
  EXPECT_EQ(session.info(fresh).cached_len, 0u);
  EXPECT_EQ(session.info(fresh).forwarded_tokens - c.forwarded_tokens, stored);
  EXPECT_EQ(session.tokens(fresh), session.tokens(turn));
  EXPECT_EQ(session.stats().cached_tokens, uint64_t{aligned} + stored);
}

TEST(Engine, SaltsKeepPrefixesApart) {
  Session session(Options{{"page_size", "8"}});
  ASSERT_NE(session.engine, nullptr);
  const std::string prompt = question(session);
  auto params = params_of(100);
  params.cache_salt = "tenant a";
  session.submit_text(prompt, &params);
  session.run();
  params.cache_salt = "tenant b";
  const diffulex_request_id other = session.submit_text(prompt, &params);
  session.run();
  EXPECT_EQ(session.info(other).cached_len, 0u);
  const diffulex_request_id same = session.submit_text(prompt, &params);
  session.run();
  EXPECT_GT(session.info(same).cached_len, 0u);
}

TEST(Engine, OutputsDoNotDependOnPagesThreadsMemoryOrCompany) {
  std::set<std::vector<diffulex_token>> outputs;
  const std::vector<Options> variants = {
      {{"page_size", "8"}, {"cpu_threads", "1"}},
      {{"page_size", "16"}, {"cpu_threads", "2"}},
      {{"page_size", "64"}, {"prefix_caching", "false"}},
      {{"page_size", "8"},
       {"max_batched_tokens", "16"},
       {"max_requests", "1"}},  // prompts in small chunks
      {{"page_size", "8"}, {"max_model_len", "200"}, {"kv_bytes", "1474560"}},  // preemption
      {{"cuda_graphs", "false"}},  // on a device that has them: launches one by one
      {{"device_steps", "8"}},
      {{"device_steps", "3"}, {"page_size", "8"}, {"cuda_graphs", "false"}},
      {{"device_steps", "64"},
       {"page_size", "8"},
       {"max_model_len", "200"},
       {"kv_bytes", "1474560"}},
  };
  for (const Options& variant : variants) {
    Options options = variant;
    options.emplace_back("buffer_blocks", "2");
    Session session(options, {{"accept_threshold", "0.9"}},
                    [](auto& config) { config.weight_dtype = DIFFULEX_DTYPE_F32; });
    ASSERT_NE(session.engine, nullptr) << session.failure.message;
    const auto params = params_of(100);
    std::vector<diffulex_request_id> ids;
    for (int i = 0; i < 6; ++i) ids.push_back(session.submit_text(question(session), &params));
    session.run();
    for (const diffulex_request_id id : ids) outputs.insert(session.tokens(id));
  }
  EXPECT_EQ(outputs.size(), 1u);
}

// What some requests of one engine show in the end, and how many calls that took.
struct Decoded {
  std::vector<std::vector<diffulex_token>> tokens;
  std::vector<diffulex_finish> finish;
  std::vector<uint32_t> steps, denoise_steps, forwarded;
  uint64_t engine_steps = 0, calls = 0;
};

Decoded decode_with(const char* device_steps, const char* buffer_blocks, const char* strategy) {
  Session session(Options{{"device_steps", device_steps}, {"buffer_blocks", buffer_blocks}},
                  {{"accept_threshold", "1"}}, [&](auto& config) {
                    config.weight_dtype = DIFFULEX_DTYPE_F32;
                    config.strategy = strategy;
                  });
  EXPECT_NE(session.engine, nullptr) << session.failure.message;
  std::vector<diffulex_request_id> ids;
  for (int i = 0; i < 3; ++i) {
    auto params = params_of(40 + static_cast<uint32_t>(i) * 11, DIFFULEX_REQUEST_IGNORE_EOS);
    params.max_steps = i == 1 ? 9 : 0;
    params.max_repetition_run = i == 2 ? 3 : 0;
    params.temperature = i == 0 ? 0.8f : 0;
    params.seed = 5;
    const std::string prompt = question(session) + std::string(static_cast<size_t>(i), 'a');
    ids.push_back(session.submit_text(prompt, &params));
  }
  const auto until_eos = params_of(100);
  ids.push_back(session.submit_text(question(session), &until_eos));
  Decoded decoded;
  while (diffulex_engine_step(session.engine, nullptr) == DIFFULEX_OK) ++decoded.calls;
  for (const diffulex_request_id id : ids) {
    const diffulex_request_info info = session.info(id);
    decoded.tokens.push_back(session.tokens(id));
    decoded.finish.push_back(info.finish);
    decoded.steps.push_back(info.steps);
    decoded.denoise_steps.push_back(info.denoise_steps);
    decoded.forwarded.push_back(info.forwarded_tokens);
  }
  decoded.engine_steps = session.stats().steps;
  EXPECT_EQ(session.stats().kv_pages_free, session.stats().kv_pages_total);
  return decoded;
}

TEST(Engine, OutputsDoNotDependOnDeviceSteps) {
  for (const char* strategy : {"multi_bd", "d2f"})
    for (const char* buffer_blocks : {"1", "2", "4"}) {
      const Decoded one = decode_with("1", buffer_blocks, strategy);
      EXPECT_EQ(one.calls, one.engine_steps);
      for (const char* device_steps : {"2", "8"}) {
        SCOPED_TRACE(std::string(strategy) + ", " + buffer_blocks + " blocks, " + device_steps);
        const Decoded many = decode_with(device_steps, buffer_blocks, strategy);
        EXPECT_EQ(many.tokens, one.tokens);
        EXPECT_EQ(many.finish, one.finish);
        EXPECT_EQ(many.steps, one.steps);
        EXPECT_EQ(many.denoise_steps, one.denoise_steps);
        EXPECT_EQ(many.forwarded, one.forwarded);
        EXPECT_EQ(many.engine_steps, one.engine_steps);
        EXPECT_LT(many.calls, one.calls * 3 / 4);
      }
    }
}

TEST(Engine, SeedsReproduceSampledOutputs) {
  const auto run = [](uint64_t seed, int company) {
    Session session(Options{{"buffer_blocks", "2"}}, {{"accept_threshold", "0"}},
                    [](auto& config) { config.weight_dtype = DIFFULEX_DTYPE_F32; });
    auto params = params_of(60);
    params.temperature = 8.0f;
    params.top_k = 50;
    params.top_p = 0.999f;
    params.seed = seed;
    for (int i = 0; i < company; ++i) session.submit({1021, 304, 198, 500});
    const diffulex_request_id id = session.submit_text(question(session), &params);
    session.run();
    return session.tokens(id);
  };
  EXPECT_EQ(run(1, 0), run(1, 3));
  EXPECT_NE(run(1, 0), run(2, 0));
}

}  // namespace
}  // namespace diffulex_tests
