// Right calls at the wrong time, from one thread or from two.
#include <atomic>
#include <thread>

#include "errors_engine.h"

namespace diffulex_tests::errors {
namespace {

void thread_mode(diffulex_engine_config& config) { config.run_mode = DIFFULEX_RUN_THREAD; }

Outcome step_fails(Session& session, const char* culprit) {
  return attempt(culprit, [&](auto** e) { return diffulex_engine_step(session.engine, e); });
}

Outcome start_fails(Session& session, const char* culprit) {
  return attempt(culprit, [&](auto** e) { return diffulex_engine_start(session.engine, e); });
}

Outcome stop_fails(Session& session, int32_t drain) {
  return attempt("thread",
                 [&](auto** e) { return diffulex_engine_stop(session.engine, drain, e); });
}

// Steps until this or the other stepper was refused; calls `idle` when there is nothing to do.
Outcomes step_until_refused(Session& session, std::atomic<bool>* refused,
                            const std::function<void()>& idle) {
  Outcomes outcomes;
  while (!refused->load()) {
    diffulex_error* error = nullptr;
    const diffulex_status status = diffulex_engine_step(session.engine, &error);
    if (status == DIFFULEX_S_IDLE) idle();
    if (status >= 0) continue;
    outcomes.push_back(outcome_of("stepping", status, error));
    refused->store(true);
  }
  return outcomes;
}

// The steppers collide sooner or later: nearly all their time goes by inside of steps.
Outcomes two_steppers() {
  Session& session = survivor();
  const auto params = params_of(kMaxModelLen, DIFFULEX_REQUEST_IGNORE_EOS);
  diffulex_request_id id = session.submit({1, 2, 3}, &params);
  std::atomic<bool> refused = false;
  Outcomes other;
  std::thread stepper(
      [&] { other = step_until_refused(session, &refused, [] { std::this_thread::yield(); }); });
  Outcomes mine = step_until_refused(session, &refused, [&] {
    EXPECT_EQ(diffulex_request_release(session.engine, id), DIFFULEX_OK);
    id = session.submit({1, 2, 3}, &params);
  });
  stepper.join();
  forget(session, id);
  return mine + other;
}

Outcomes step_of_a_running_engine() {
  Session session({{"cpu_threads", "1"}}, {}, thread_mode);
  Outcomes outcomes = {step_fails(session, "run_mode")};
  EXPECT_EQ(diffulex_engine_start(session.engine, nullptr), DIFFULEX_OK);
  outcomes.push_back(step_fails(session, "run_mode"));
  EXPECT_EQ(diffulex_engine_stop(session.engine, 1, nullptr), DIFFULEX_OK);
  return outcomes;
}

Outcomes second_start() {
  Session session({{"cpu_threads", "1"}}, {}, thread_mode);
  EXPECT_EQ(diffulex_engine_start(session.engine, nullptr), DIFFULEX_OK);
  Outcomes outcomes = {start_fails(session, "thread")};
  EXPECT_EQ(diffulex_engine_stop(session.engine, 0, nullptr), DIFFULEX_OK);
  return outcomes;
}

Outcomes stop_without_start() {
  Session session({{"cpu_threads", "1"}}, {}, thread_mode);
  Outcomes outcomes = {stop_fails(survivor(), 0), stop_fails(session, 1)};
  EXPECT_EQ(diffulex_engine_start(session.engine, nullptr), DIFFULEX_OK);
  EXPECT_EQ(diffulex_engine_stop(session.engine, 1, nullptr), DIFFULEX_OK);
  outcomes.push_back(stop_fails(session, 0));
  return outcomes;
}

// True when the submission was refused for another reason than a full queue: released requests
// leave it with the next step only.
bool submission_refused(Session& session, Outcomes* outcomes) {
  const diffulex_token prompt[] = {1, 2, 3};
  diffulex_request_id id = 0;
  diffulex_error* error = nullptr;
  const diffulex_status status =
      diffulex_request_submit(session.engine, prompt, 3, nullptr, &id, &error);
  if (status == DIFFULEX_OK) {
    EXPECT_EQ(diffulex_request_release(session.engine, id), DIFFULEX_OK);
    return false;
  }
  EXPECT_EQ(id, 0u);
  Outcome outcome = outcome_of("stopped", status, error);
  if (status == DIFFULEX_E_QUEUE_FULL) return false;
  outcomes->push_back(std::move(outcome));
  return true;
}

// Submits while another thread drains the engine; false when it was done too early.
bool refused_while_draining(Session& session, Outcomes* outcomes) {
  EXPECT_EQ(diffulex_engine_start(session.engine, nullptr), DIFFULEX_OK);
  const auto params = params_of(400, DIFFULEX_REQUEST_IGNORE_EOS);
  const diffulex_request_id busy = session.submit({1, 2, 3}, &params);
  std::atomic<bool> stopped = false;
  std::thread stopper([&] {
    EXPECT_EQ(diffulex_engine_stop(session.engine, 1, nullptr), DIFFULEX_OK);
    stopped = true;
  });
  bool refused = false;
  while (!refused && !stopped) refused = submission_refused(session, outcomes);
  stopper.join();
  EXPECT_EQ(diffulex_request_release(session.engine, busy), DIFFULEX_OK);
  return refused;
}

Outcomes submit_while_stopping() {
  Session session({{"cpu_threads", "1"}}, {}, thread_mode);
  Outcomes outcomes;
  while (!refused_while_draining(session, &outcomes)) {
  }
  return outcomes;
}

}  // namespace

void add_state_cases(Cases* cases) {
  Cases& c = *cases;
  c["second-stepper"] = two_steppers;
  c["step-in-thread-mode"] = step_of_a_running_engine;
  c["start-in-manual-mode"] = [] { return Outcomes{start_fails(survivor(), "run_mode")}; };
  c["second-start"] = second_start;
  c["stop-without-start"] = stop_without_start;
  c["submit-while-stopping"] = submit_while_stopping;
}

}  // namespace diffulex_tests::errors
