// Aborts, counters, threads, several engines, the log of steps.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>

#include "engine_question.h"

namespace diffulex_tests {
namespace {

TEST(Engine, AbortKeepsWhatWasCommitted) {
  Session session;
  ASSERT_NE(session.engine, nullptr);
  const auto params = params_of(300, DIFFULEX_REQUEST_IGNORE_EOS);
  const diffulex_request_id id = session.submit_text(question(session), &params);
  for (int i = 0; i < 8; ++i) ASSERT_EQ(diffulex_engine_step(session.engine, nullptr), DIFFULEX_OK);
  const auto tokens = session.tokens(id);
  EXPECT_FALSE(tokens.empty());
  EXPECT_EQ(diffulex_request_abort(session.engine, id), DIFFULEX_OK);
  EXPECT_EQ(diffulex_request_abort(session.engine, id), DIFFULEX_OK);
  EXPECT_EQ(diffulex_engine_step(session.engine, nullptr), DIFFULEX_S_IDLE);
  EXPECT_EQ(session.info(id).finish, DIFFULEX_FINISH_ABORTED);
  EXPECT_EQ(session.tokens(id), tokens);
  EXPECT_EQ(session.stats().kv_pages_free, session.stats().kv_pages_total);
  EXPECT_EQ(diffulex_request_release(session.engine, id), DIFFULEX_OK);
  EXPECT_EQ(diffulex_request_release(session.engine, id), DIFFULEX_E_NOT_FOUND);
  diffulex_request_info info{};
  info.struct_size = sizeof(info);
  EXPECT_EQ(diffulex_request_get_info(session.engine, id, &info, nullptr), DIFFULEX_E_NOT_FOUND);
  EXPECT_NE(session.submit_text(question(session)), id);  // ids are never used again
}

TEST(Engine, AbortTellsAFinalEvent) {
  Session session;
  ASSERT_NE(session.engine, nullptr);
  const diffulex_request_id id = session.submit_text(question(session));
  ASSERT_EQ(diffulex_engine_step(session.engine, nullptr), DIFFULEX_OK);
  session.events();
  EXPECT_EQ(diffulex_request_abort(session.engine, id), DIFFULEX_OK);
  EXPECT_EQ(diffulex_engine_step(session.engine, nullptr), DIFFULEX_S_IDLE);
  const auto events = session.events();
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].type, DIFFULEX_EVENT_FINISHED);
  EXPECT_EQ(events[0].request, id);
  EXPECT_EQ(events[0].finish, DIFFULEX_FINISH_ABORTED);
}

// Masks are no output, rows of a window no prompt, and a wait in the queue is a wait.
TEST(Engine, CountersSayWhatHappened) {
  Session session(Options{{"buffer_blocks", "4"}, {"max_requests", "1"}},
                  {{"accept_threshold", "0.9"}});
  ASSERT_NE(session.engine, nullptr);
  const auto params = params_of(100, DIFFULEX_REQUEST_NO_CACHE);
  const diffulex_request_id first = session.submit_text(question(session), &params);
  const diffulex_request_id second = session.submit_text(question(session), &params);
  session.run();
  const auto stats = session.stats();
  EXPECT_EQ(stats.committed_tokens, 2 * session.tokens(first).size());
  EXPECT_EQ(stats.prefill_tokens, uint64_t{2} * (session.info(first).prompt_len / 8 * 8));
  EXPECT_EQ(stats.forwarded_tokens,
            session.info(first).forwarded_tokens + session.info(second).forwarded_tokens);
  EXPECT_LE(session.info(second).queued_ns, session.info(first).first_commit_ns);
  EXPECT_LE(session.info(first).end_ns, session.info(second).prefill_ns);
}

TEST(Engine, ThreadModeServesManyThreads) {
  Session session(Options{{"buffer_blocks", "2"}}, {{"accept_threshold", "0.9"}},
                  [](auto& config) { config.run_mode = DIFFULEX_RUN_THREAD; });
  ASSERT_NE(session.engine, nullptr);
  EXPECT_EQ(diffulex_engine_step(session.engine, nullptr), DIFFULEX_E_INVALID_STATE);
  ASSERT_EQ(diffulex_engine_start(session.engine, nullptr), DIFFULEX_OK);
  EXPECT_EQ(diffulex_engine_start(session.engine, nullptr), DIFFULEX_E_INVALID_STATE);
  const std::string prompt = question(session);
  constexpr int kThreads = 4, kEach = 5;
  std::atomic<int> finished{0};
  std::thread pump([&] {
    while (finished < kThreads * kEach)
      for (const diffulex_event& event : session.events(100))
        finished += event.type == DIFFULEX_EVENT_FINISHED ? 1 : 0;
  });
  std::vector<std::thread> clients;
  std::vector<std::vector<diffulex_request_id>> ids(kThreads);
  for (int t = 0; t < kThreads; ++t)
    clients.emplace_back([&, t] {
      for (int i = 0; i < kEach; ++i) {
        diffulex_request_id id = 0;
        EXPECT_EQ(diffulex_request_submit_text(session.engine, prompt.data(), prompt.size(),
                                               nullptr, &id, nullptr),
                  DIFFULEX_OK);
        ids[static_cast<size_t>(t)].push_back(id);
        diffulex_request_info info{};
        info.struct_size = sizeof(info);
        EXPECT_EQ(diffulex_request_get_info(session.engine, id, &info, nullptr), DIFFULEX_OK);
      }
    });
  for (std::thread& client : clients) client.join();
  pump.join();
  for (const auto& list : ids)
    for (const diffulex_request_id id : list) EXPECT_EQ(session.text(id), kAnswer);
  EXPECT_EQ(diffulex_engine_stop(session.engine, 1, nullptr), DIFFULEX_OK);
  EXPECT_EQ(diffulex_engine_stop(session.engine, 1, nullptr), DIFFULEX_E_INVALID_STATE);
  // It can be started again, and stopped in the middle of the work.
  ASSERT_EQ(diffulex_engine_start(session.engine, nullptr), DIFFULEX_OK);
  const auto params = params_of(1500, DIFFULEX_REQUEST_IGNORE_EOS);
  const diffulex_request_id id = session.submit_text(prompt, &params);
  EXPECT_EQ(diffulex_engine_stop(session.engine, 0, nullptr), DIFFULEX_OK);
  EXPECT_EQ(session.info(id).finish, DIFFULEX_FINISH_ABORTED);
}

TEST(Engine, InterruptWakesAWaiter) {
  Session session;
  ASSERT_NE(session.engine, nullptr);
  std::atomic<bool> waiting{false}, woken{false};
  std::thread waiter([&] {
    diffulex_event event;
    size_t count = 0;
    waiting = true;
    EXPECT_EQ(diffulex_engine_wait(session.engine, &event, sizeof(event), 1, &count, -1, nullptr),
              DIFFULEX_S_TIMEOUT);
    woken = true;
  });
  while (!waiting) std::this_thread::yield();
  while (!woken) {
    diffulex_engine_interrupt(session.engine);
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  waiter.join();
}

TEST(Engine, TwoEnginesInOneProcess) {
  Session a(Options{{"buffer_blocks", "1"}}, {{"accept_threshold", "0.9"}}),
      b(Options{{"buffer_blocks", "4"}}, {{"accept_threshold", "0.9"}});
  ASSERT_NE(a.engine, nullptr);
  ASSERT_NE(b.engine, nullptr);
  const diffulex_request_id ia = a.submit_text(question(a)), ib = b.submit_text(question(b));
  std::thread other([&] { b.run(); });
  a.run();
  other.join();
  EXPECT_EQ(a.text(ia), kAnswer);
  EXPECT_EQ(b.text(ib), kAnswer);
}

TEST(Engine, StepsAreRemembered) {
  Session session(Options{{"step_log_capacity", "4"}});
  ASSERT_NE(session.engine, nullptr);
  session.submit_text(question(session));
  session.run();
  const auto stats = session.stats();
  std::vector<diffulex_step_stats> steps(16);
  size_t count = 0;
  ASSERT_EQ(diffulex_engine_read_steps(session.engine, 0, steps.data(), sizeof(steps[0]),
                                       steps.size(), &count, nullptr),
            DIFFULEX_OK);
  ASSERT_EQ(count, 4u);
  EXPECT_EQ(steps[3].step + 1, stats.steps);
  for (size_t i = 0; i < count; ++i) {
    EXPECT_EQ(steps[i].step, stats.steps - 4 + i);
    EXPECT_GT(steps[i].rows, 0u);
    EXPECT_LE(steps[i].forward_ns, steps[i].duration_ns);
  }
}

}  // namespace
}  // namespace diffulex_tests
