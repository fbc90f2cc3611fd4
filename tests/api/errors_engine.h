// The engine that lives through every case and must answer as before, and engines that must not
// come to be.
#pragma once

#include <string>
#include <vector>

#include "errors_case.h"
#include "session.h"

namespace diffulex_tests::errors {

constexpr uint32_t kMaxModelLen = 64;  // of the survivor
constexpr uint32_t kMaxQueue = 2;

inline Session& survivor() {
  static Session session(Options{{"max_model_len", std::to_string(kMaxModelLen)},
                                 {"max_queue", std::to_string(kMaxQueue)},
                                 {"cpu_threads", "1"}});
  return session;
}

// Releases a request. Its place in the queue is free after a step.
inline void forget(Session& session, diffulex_request_id id) {
  EXPECT_EQ(diffulex_request_release(session.engine, id), DIFFULEX_OK);
  session.run();
}

// A short answer, computed anew each time.
inline std::vector<diffulex_token> answer_of(Session& session) {
  const auto params = params_of(12, DIFFULEX_REQUEST_NO_CACHE);
  const diffulex_request_id id = session.submit({1021, 304, 87, 12, 5}, &params);
  session.run();
  std::vector<diffulex_token> answer = session.tokens(id);
  forget(session, id);
  return answer;
}

using Tune = std::function<void(diffulex_engine_config&)>;

inline diffulex_engine_config tuned_config(const std::string& dir, const Tune& tune) {
  diffulex_engine_config config = default_config(dir);
  config.cpu_threads = 1;
  if (tune) tune(config);
  return config;
}

inline Outcome create_fails(const std::string& dir, const std::string& culprit,
                            const Tune& tune = nullptr) {
  const diffulex_engine_config config = tuned_config(dir, tune);
  auto* const nowhere = reinterpret_cast<diffulex_engine*>(0x10);
  diffulex_engine* engine = nowhere;
  return attempt(
      culprit, [&](diffulex_error** e) { return diffulex_engine_create(&config, &engine, e); },
      engine);
}

inline Outcome plan_fails(const std::string& dir, const std::string& culprit,
                          const Tune& tune = nullptr) {
  const diffulex_engine_config config = tuned_config(dir, tune);
  auto plan = sized<diffulex_plan>();
  return attempt(
      culprit, [&](diffulex_error** e) { return diffulex_engine_plan(&config, &plan, e); }, plan);
}

// What the metadata tells is known to a plan already.
inline Outcomes both_fail(const std::string& dir, const std::string& culprit,
                          const Tune& tune = nullptr) {
  return {create_fails(dir, culprit, tune), plan_fails(dir, culprit, tune)};
}

inline Outcomes config_fails(const Tune& tune, const std::string& culprit = "") {
  return both_fail(model_dir(), culprit, tune);
}

// An engine on `session` that refuses a request.
inline Outcome submit_fails(Session& session, const std::vector<diffulex_token>& prompt,
                            const diffulex_request_params* params,
                            const std::string& culprit = "") {
  diffulex_request_id id = 77;
  return attempt(
      culprit,
      [&](diffulex_error** e) {
        return diffulex_request_submit(session.engine, prompt.data(), prompt.size(), params, &id,
                                       e);
      },
      id);
}

}  // namespace diffulex_tests::errors
