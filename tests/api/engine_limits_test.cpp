// What ends a request, and what it may ask for.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>

#include "engine_question.h"

namespace diffulex_tests {
namespace {

TEST(Engine, LimitsCountOutputTokens) {
  for (const int buffer : {1, 3}) {
    Session session(Options{{"buffer_blocks", std::to_string(buffer)}, {"max_model_len", "64"}});
    ASSERT_NE(session.engine, nullptr) << session.failure.message;
    for (const uint32_t limit : {1u, 5u, 8u, 13u}) {
      const auto params = params_of(limit, DIFFULEX_REQUEST_IGNORE_EOS);
      const diffulex_request_id id = session.submit({1021, 304, 198, 500, 400}, &params);
      session.run();
      EXPECT_EQ(session.info(id).finish, DIFFULEX_FINISH_MAX_TOKENS);
      EXPECT_EQ(session.tokens(id).size(), limit);
    }
    const auto params = params_of(1000, DIFFULEX_REQUEST_IGNORE_EOS);
    const diffulex_request_id id = session.submit({1021, 304, 198, 500, 400}, &params);
    session.run();
    EXPECT_EQ(session.info(id).finish, DIFFULEX_FINISH_CONTEXT);
    EXPECT_EQ(session.tokens(id).size(), 59u);
    auto few = params_of(1000, DIFFULEX_REQUEST_IGNORE_EOS);
    few.max_steps = 3;
    const diffulex_request_id short_id = session.submit({1021, 304, 198, 500, 400}, &few);
    session.run();
    EXPECT_EQ(session.info(short_id).finish, DIFFULEX_FINISH_MAX_STEPS);
    EXPECT_EQ(session.info(short_id).steps, 3u);
    const auto tokens = session.tokens(short_id);
    EXPECT_EQ(std::count(tokens.begin(), tokens.end(), 1023), 0);
  }
}

// One token per forward: as slow as decoding gets, and still nothing ends it but its limit.
TEST(Engine, SlowRequestsAreNotCutShort) {
  Session session({}, {{"accept_threshold", "1"}});
  ASSERT_NE(session.engine, nullptr);
  const auto params = params_of(40, DIFFULEX_REQUEST_IGNORE_EOS);
  const diffulex_request_id id = session.submit({1021, 304, 198, 500, 400}, &params);
  while (diffulex_engine_step(session.engine, nullptr) == DIFFULEX_OK) {
    const auto tokens = session.tokens(id);  // never those that are still to come
    EXPECT_EQ(std::count(tokens.begin(), tokens.end(), 1023), 0);
  }
  EXPECT_EQ(session.info(id).finish, DIFFULEX_FINISH_MAX_TOKENS);
  EXPECT_EQ(session.tokens(id).size(), 40u);
  EXPECT_EQ(session.info(id).denoise_steps, 40u);
}

// Whatever the cache's size, it holds one request of max_model_len.
TEST(Engine, TheCacheHoldsTheLongestRequest) {
  Session session(Options{{"kv_bytes", "1048576"}});
  ASSERT_NE(session.engine, nullptr);
  diffulex_engine_info info{};
  info.struct_size = sizeof(info);
  ASSERT_EQ(diffulex_engine_get_info(session.engine, &info, nullptr), DIFFULEX_OK);
  ASSERT_LT(info.max_model_len, 2048u);
  const auto params = params_of(2000, DIFFULEX_REQUEST_IGNORE_EOS);
  const diffulex_request_id id =
      session.submit(std::vector<diffulex_token>(info.max_model_len - 20, 5), &params);
  session.run();
  EXPECT_EQ(session.info(id).finish, DIFFULEX_FINISH_CONTEXT);
  EXPECT_EQ(session.tokens(id).size(), 20u);
}

// A stop string may begin in one token and end in another, and in one block or another.
TEST(Engine, StopStringsEndTheText) {
  for (const int buffer : {1, 4}) {
    Session session(Options{{"buffer_blocks", std::to_string(buffer)}},
                    {{"accept_threshold", "0.9"}});
    ASSERT_NE(session.engine, nullptr);
    const diffulex_request_id whole = session.submit_text(question(session));
    session.run();
    const std::string text = session.text(whole);
    const auto all = session.tokens(whole);
    for (const size_t length : {1u, 3u, 9u}) {
      for (size_t at = 0; at + length <= text.size(); at += 5) {
        const std::string stop = text.substr(at, length);
        const char* const list[] = {"never in there", stop.c_str()};
        auto params = params_of(100);
        params.stop_strings = list;
        params.stop_string_count = 2;
        const diffulex_request_id id = session.submit_text(question(session), &params);
        std::string seen;
        while (diffulex_engine_step(session.engine, nullptr) == DIFFULEX_OK) {
          const std::string now = session.text(id);
          ASSERT_TRUE(now.starts_with(seen));
          seen = now;
        }
        ASSERT_EQ(session.info(id).finish, DIFFULEX_FINISH_STOP_STRING) << stop;
        ASSERT_EQ(session.text(id), text.substr(0, text.find(stop)));
        const auto tokens = session.tokens(id);
        ASSERT_TRUE(std::equal(tokens.begin(), tokens.end(), all.begin()));
        ASSERT_EQ(session.info(id).stop_index, static_cast<int32_t>(tokens.size()) - 1);
      }
    }
    auto params = params_of(100);
    const char* const never = "never in there";
    params.stop_strings = &never;
    params.stop_string_count = 1;
    const diffulex_request_id id = session.submit_text(question(session), &params);
    session.run();
    EXPECT_EQ(session.text(id), text);
    EXPECT_EQ(session.info(id).finish, DIFFULEX_FINISH_EOS);
    const char* const nothing = "";
    params.stop_strings = &nothing;
    EXPECT_EQ(session.submit_text(question(session), &params), 0u);
    EXPECT_EQ(session.failure.option, "stop_strings");
  }
}

TEST(Engine, MinPKeepsOnlyTheProbable) {
  Session session;
  ASSERT_NE(session.engine, nullptr);
  const diffulex_request_id greedy = session.submit_text(question(session));
  auto params = params_of(200);
  params.temperature = 3;
  params.min_p = 1;  // nothing but the most probable token
  const diffulex_request_id sharp = session.submit_text(question(session), &params);
  params.min_p = 0;
  const diffulex_request_id loose = session.submit_text(question(session), &params);
  session.run();
  EXPECT_EQ(session.tokens(sharp).size() > 0 ? session.tokens(sharp)[0] : -1,
            session.tokens(greedy)[0]);
  EXPECT_NE(session.tokens(loose), session.tokens(sharp));
  params.min_p = 1.5f;
  EXPECT_EQ(session.submit_text(question(session), &params), 0u);
  EXPECT_EQ(session.failure.option, "min_p");
}

TEST(Engine, DeadlineKeepsWhatIsFilled) {
  Session session;
  ASSERT_NE(session.engine, nullptr);
  auto params = params_of(1000, DIFFULEX_REQUEST_IGNORE_EOS);
  params.deadline_ms = 60'000;
  const diffulex_request_id patient = session.submit({1021, 304, 198, 500, 400}, &params);
  params.deadline_ms = 20;
  const diffulex_request_id hurried = session.submit({1021, 304, 198, 500, 400}, &params);
  ASSERT_EQ(diffulex_engine_step(session.engine, nullptr), DIFFULEX_OK);
  std::this_thread::sleep_for(std::chrono::milliseconds(25));
  session.run();
  EXPECT_EQ(session.info(hurried).finish, DIFFULEX_FINISH_DEADLINE);
  EXPECT_EQ(session.info(hurried).status, DIFFULEX_OK);
  const auto cut = session.tokens(hurried), whole = session.tokens(patient);
  EXPECT_EQ(session.info(patient).finish, DIFFULEX_FINISH_MAX_TOKENS);
  ASSERT_LT(cut.size(), whole.size());
  EXPECT_EQ(cut, std::vector<diffulex_token>(whole.begin(),
                                             whole.begin() + static_cast<ptrdiff_t>(cut.size())));
}

TEST(Engine, RepetitionEndsTheOutput) {
  Session session;
  ASSERT_NE(session.engine, nullptr);
  auto params = params_of(200, DIFFULEX_REQUEST_IGNORE_EOS);
  const diffulex_request_id whole = session.submit({1021, 304, 198, 500, 400}, &params);
  params.max_repetition_run = 4;
  const diffulex_request_id id = session.submit({1021, 304, 198, 500, 400}, &params);
  session.run();
  const auto all = session.tokens(whole), cut = session.tokens(id);
  size_t end = 0, run = 0;
  while (end < all.size() && run < 4) {
    run = end > 0 && all[end] == all[end - 1] ? run + 1 : 1;
    ++end;
  }
  ASSERT_EQ(run, 4u);  // the model repeats itself behind its end token
  EXPECT_EQ(session.info(id).finish, DIFFULEX_FINISH_REPETITION);
  EXPECT_EQ(cut,
            std::vector<diffulex_token>(all.begin(), all.begin() + static_cast<ptrdiff_t>(end)));
}

TEST(Engine, PriorityGoesFirst) {
  Session session(Options{{"max_requests", "1"}});
  ASSERT_NE(session.engine, nullptr);
  auto params = params_of(8, DIFFULEX_REQUEST_IGNORE_EOS);
  const diffulex_request_id low = session.submit({1021, 304, 198}, &params);
  params.priority = 1;
  const diffulex_request_id high = session.submit({1021, 304, 198}, &params);
  session.run();
  EXPECT_LT(session.info(high).end_ns, session.info(low).end_ns);
}

TEST(Engine, LimitsOutOfRangeAreRefused) {
  Session session;
  ASSERT_NE(session.engine, nullptr);
  auto params = params_of(8);
  params.max_repetition_run = 1;
  EXPECT_EQ(session.submit({1021, 304}, &params), 0u);
  EXPECT_EQ(session.failure.option, "max_repetition_run");
  params = params_of(8);
  params.priority = -1001;
  EXPECT_EQ(session.submit({1021, 304}, &params), 0u);
  EXPECT_EQ(session.failure.status, DIFFULEX_E_INVALID_ARGUMENT);
  EXPECT_EQ(session.failure.option, "priority");
}

TEST(Engine, StopTokensEndTheOutput) {
  Session session({}, {{"accept_threshold", "0.9"}});
  ASSERT_NE(session.engine, nullptr);
  const diffulex_request_id whole = session.submit_text(question(session));
  session.run();
  const auto all = session.tokens(whole);
  auto params = params_of(100);
  const diffulex_token stop = all[3];
  params.stop_tokens = &stop;
  params.stop_token_count = 1;
  const diffulex_request_id id = session.submit_text(question(session), &params);
  session.run();
  const auto cut = session.tokens(id);
  const auto first = std::find(all.begin(), all.end(), stop) - all.begin();
  EXPECT_EQ(session.info(id).finish, DIFFULEX_FINISH_STOP_TOKEN);
  EXPECT_EQ(cut, (std::vector<diffulex_token>(all.begin(), all.begin() + first + 1)));
}

}  // namespace
}  // namespace diffulex_tests
