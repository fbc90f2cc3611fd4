// What a request can say about how its tokens are chosen, and what a strategy asks of an engine.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "session.h"

namespace diffulex_tests {
namespace {

const char* const kQuestion = "Sort these numbers from smallest to largest: 41, 7, 93, 12, 66";

struct Answer {
  std::vector<diffulex_token> tokens;
  diffulex_request_info info;
  std::string text;
};

Answer answer(Session& s, const diffulex_request_params& params) {
  const diffulex_request_id id = s.submit_text(s.chat({{"user", kQuestion}}), &params);
  s.run();
  return {s.tokens(id), s.info(id), s.text(id)};
}

TEST(Sampling, BiasBansAndFavours) {
  Session s(Options{{"buffer_blocks", "2"}});
  const Answer plain = answer(s, params_of(40));
  std::vector<diffulex_logit_bias> bias;
  const std::set<diffulex_token> used(plain.tokens.begin(), plain.tokens.end());
  for (const diffulex_token token : used) bias.push_back({token, -INFINITY});
  auto params = params_of(40, DIFFULEX_REQUEST_IGNORE_EOS);
  params.logit_bias = bias.data();
  params.logit_bias_count = bias.size();
  const Answer banned = answer(s, params);
  EXPECT_EQ(banned.tokens.size(), 40u);
  for (const diffulex_token token : banned.tokens) EXPECT_EQ(used.count(token), 0u);
  const diffulex_logit_bias one{77, 1000};
  params.logit_bias = &one;
  params.logit_bias_count = 1;
  EXPECT_EQ(answer(s, params).tokens, std::vector<diffulex_token>(40, 77));
}

TEST(Sampling, RepetitionPenaltySpreadsTheOutput) {
  Session s(Options{{"buffer_blocks", "2"}});
  auto params = params_of(120, DIFFULEX_REQUEST_IGNORE_EOS);
  const Answer plain = answer(s, params);
  params.repetition_penalty = 100;  // what was said once is said again only when all was said
  const Answer spread = answer(s, params);
  const auto distinct = [](const Answer& r) {
    return std::set<diffulex_token>(r.tokens.begin(), r.tokens.end()).size();
  };
  EXPECT_GT(distinct(spread), distinct(plain));
  params.repetition_penalty = 1;
  EXPECT_EQ(answer(s, params).tokens, plain.tokens);
}

TEST(Sampling, MeasuresAndThresholdsPerRequest) {
  Session s(Options{{"buffer_blocks", "4"}});
  for (const char* measure : {"probability", "margin", "neg_entropy"}) {
    const diffulex_kv options[] = {{"confidence", measure}, {"accept_threshold", "1"}};
    auto params = params_of(60);
    params.strategy_options = options;
    params.strategy_option_count = 2;
    const Answer r = answer(s, params);
    EXPECT_EQ(r.info.finish, DIFFULEX_FINISH_EOS) << measure;
    EXPECT_NE(r.text.find("7, 12"), std::string::npos) << r.text;
  }
  const diffulex_kv stable{"token_stability_threshold", "0.5"};
  auto params = params_of(60);
  const Answer eager = answer(s, params);
  params.strategy_options = &stable;
  params.strategy_option_count = 1;
  const Answer patient = answer(s, params);
  EXPECT_GT(patient.info.denoise_steps, eager.info.denoise_steps);  // one block at a time
}

TEST(Sampling, RefusesNonsense) {
  Session s;
  const auto fails = [&](const std::function<void(diffulex_request_params&)>& tune) {
    auto params = params_of(10);
    tune(params);
    diffulex_request_id id = 0;
    diffulex_error* error = nullptr;
    const diffulex_token prompt[] = {5, 6};
    EXPECT_LT(diffulex_request_submit(s.engine, prompt, 2, &params, &id, &error), 0);
    return take(error).option;
  };
  const diffulex_logit_bias strange{4000, 1}, nan{5, NAN}, infinite{5, INFINITY};
  const diffulex_logit_bias twice[] = {{5, 1}, {6, 1}, {5, 2}};
  for (const diffulex_logit_bias* bias : {&strange, &nan, &infinite})
    EXPECT_EQ(fails([&](auto& p) { p.logit_bias = bias, p.logit_bias_count = 1; }), "logit_bias");
  EXPECT_EQ(fails([&](auto& p) { p.logit_bias = twice, p.logit_bias_count = 3; }), "logit_bias");
  EXPECT_EQ(fails([](auto& p) { p.logit_bias_count = 1; }), "logit_bias");
  EXPECT_EQ(fails([](auto& p) { p.repetition_penalty = -1; }), "repetition_penalty");
  EXPECT_EQ(fails([](auto& p) { p.repetition_penalty = 1000; }), "repetition_penalty");
  const diffulex_kv measure{"confidence", "luck"};
  EXPECT_EQ(fails([&](auto& p) { p.strategy_options = &measure, p.strategy_option_count = 1; }),
            "confidence");
}

TEST(D2f, DecodesWithoutCachingAndSaysSo) {
  std::vector<std::string> lines;
  const auto log = [](const diffulex_log_record* record, void* user) {
    static_cast<std::vector<std::string>*>(user)->push_back(record->message);
  };
  Session s(Options{{"buffer_blocks", "2"}}, {}, [&](auto& c) {
    c.strategy = "d2f";
    c.log = log;
    c.log_user_data = &lines;
    c.log_level = DIFFULEX_LOG_INFO;
  });
  ASSERT_NE(s.engine, nullptr) << s.failure.message;
  const auto says = [](const std::string& line) {
    return line.find("prefix_caching = false") != std::string::npos;
  };
  EXPECT_EQ(std::count_if(lines.begin(), lines.end(), says), 1);
  diffulex_engine_info info{};
  info.struct_size = sizeof(info);
  ASSERT_EQ(diffulex_engine_get_info(s.engine, &info, nullptr), DIFFULEX_OK);
  EXPECT_STREQ(info.strategy, "d2f");
  EXPECT_EQ(info.prefix_caching, 0u);
  const Answer r = answer(s, params_of(40));
  EXPECT_GT(r.tokens.size(), 0u);
  EXPECT_EQ(std::count(r.tokens.begin(), r.tokens.end(), 1023), 0);
}

TEST(D2f, ContradictionsNameBothSides) {
  const diffulex_kv caching{"prefix_caching", "true"};
  const std::string dir = model_dir();
  diffulex_engine_config config = default_config(dir);
  config.strategy = "d2f";
  config.engine_options = &caching;
  config.engine_option_count = 1;
  diffulex_engine* engine = nullptr;
  diffulex_error* error = nullptr;
  ASSERT_EQ(diffulex_engine_create(&config, &engine, &error), DIFFULEX_E_INVALID_ARGUMENT);
  EXPECT_STREQ(diffulex_error_detail(error, "option"), "prefix_caching");
  EXPECT_STREQ(diffulex_error_detail(error, "contradicts"), "strategy");
  EXPECT_NE(std::string(diffulex_error_message(error)).find("d2f"), std::string::npos);
  diffulex_error_free(error);

  diffulex_requirement requirement{};
  requirement.struct_size = sizeof(requirement);
  ASSERT_EQ(diffulex_strategy_requirement("d2f", 0, &requirement, nullptr), DIFFULEX_OK);
  EXPECT_STREQ(requirement.option, "prefix_caching");
  EXPECT_STREQ(requirement.value, "false");
  EXPECT_EQ(diffulex_strategy_requirement("d2f", 1, &requirement, nullptr), DIFFULEX_E_NOT_FOUND);
  EXPECT_EQ(diffulex_strategy_requirement("multi_bd", 0, &requirement, nullptr),
            DIFFULEX_E_NOT_FOUND);
}

TEST(D2f, APromptMustFitOneForward) {
  Session s(Options{{"max_batched_tokens", "64"}, {"max_requests", "2"}}, {},
            [](auto& c) { c.strategy = "d2f"; });
  ASSERT_NE(s.engine, nullptr) << s.failure.message;
  const std::vector<diffulex_token> fits(56, 5), large(57, 5);
  const auto params = params_of(8);
  s.submit(large, &params);
  EXPECT_EQ(s.failure.status, DIFFULEX_E_CONTEXT_LENGTH);
  EXPECT_EQ(s.failure.option, "max_batched_tokens");
  for (int i = 0; i < 3; ++i) s.submit(fits, &params);
  s.run();
  EXPECT_EQ(s.stats().finished, 3u);
}

}  // namespace
}  // namespace diffulex_tests
