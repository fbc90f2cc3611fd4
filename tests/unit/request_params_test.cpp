// What becomes of a request's parameters, beside what tests/api sees of it.
#include "api/request_params.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace diffulex {
namespace {

EngineConfig config_of(const char* strategy = "multi_bd") {
  const std::string dir = std::string(DIFFULEX_MODELS_DIR) + "/tiny-sdar";
  diffulex_engine_config config;
  diffulex_engine_config_init(&config, sizeof(config));
  config.model_dir = dir.c_str();
  config.strategy = strategy;
  config.max_batched_tokens = 64;
  return resolve(config);
}

diffulex_request_params defaults() {
  diffulex_request_params params;
  diffulex_request_params_init(&params, sizeof(params));
  return params;
}

const std::vector<diffulex_token> kPrompt = {5, 6, 7};

TEST(RequestParams, NothingIsLimitedUnasked) {
  const EngineConfig config = config_of();
  auto params = defaults();
  params.max_tokens = 100;
  RequestSpec spec = api::make_spec(config, kPrompt, &params);
  EXPECT_EQ(spec.limit, 103);
  EXPECT_EQ(spec.max_forwards, 0);
  EXPECT_EQ(spec.blocks.max_repetition_run, 0);
  EXPECT_EQ(spec.deadline_ns, 0u);
  params.max_steps = 9;
  EXPECT_EQ(api::make_spec(config, kPrompt, &params).max_forwards, 9);
}

TEST(RequestParams, EveryChoiceReachesTheSampler) {
  const EngineConfig config = config_of();
  auto params = defaults();
  params.temperature = 0.5f;
  params.top_p = 0.25f;
  params.top_k = 4;
  params.min_p = 0.125f;
  params.seed = 99;
  params.repetition_penalty = 2;
  diffulex_kv option{"confidence", "margin"};
  params.strategy_options = &option;
  params.strategy_option_count = 1;
  const RequestSpec spec = api::make_spec(config, kPrompt, &params);
  EXPECT_EQ(spec.sampler.temperature, 0.5f);
  EXPECT_EQ(spec.sampler.top_p, 0.25f);
  EXPECT_EQ(spec.sampler.top_k, 4);
  EXPECT_EQ(spec.sampler.min_p, 0.125f);
  EXPECT_EQ(spec.sampler.seed, 99u);
  EXPECT_EQ(spec.sampler.repetition_penalty, 2.0f);
  EXPECT_EQ(spec.sampler.rank, decide::kRankMargin);
  EXPECT_EQ(spec.sampler.flags, decide::kWantMargin);
  option.value = "neg_entropy";
  EXPECT_EQ(api::make_spec(config, kPrompt, &params).sampler.rank, decide::kRankNegEntropy);
}

// A prompt that no step can hold is refused where one step must compute it, and only there.
TEST(RequestParams, PromptsThatCanNeverRunAreRefused) {
  const std::vector<diffulex_token> prompt(100, 5);
  EXPECT_NO_THROW(api::make_spec(config_of(), prompt, nullptr));
  try {
    api::make_spec(config_of("d2f"), prompt, nullptr);
    ADD_FAILURE() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.status(), DIFFULEX_E_CONTEXT_LENGTH);
  }
  EXPECT_NO_THROW(api::make_spec(config_of("d2f"), std::vector<diffulex_token>(56, 5), nullptr));
}

}  // namespace
}  // namespace diffulex
