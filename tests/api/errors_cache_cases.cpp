// What cannot be asked of the prefix cache.
#include <numeric>

#include "errors_engine.h"

namespace diffulex_tests::errors {
namespace {

std::vector<diffulex_token> prompt_of(size_t count) {
  std::vector<diffulex_token> prompt(count);
  std::iota(prompt.begin(), prompt.end(), 100);
  return prompt;
}

Outcome pin_fails(Session& session, const std::vector<diffulex_token>& tokens) {
  uint64_t pin = 77;
  size_t pinned = 77;
  return attempt(
      "",
      [&](auto** e) {
        return diffulex_cache_pin(session.engine, tokens.data(), tokens.size(), nullptr, &pin,
                                  &pinned, e);
      },
      pin, pinned);
}

// Runs a case on an engine of two pages that holds one of them for ever.
Outcomes with_two_pages(const std::function<Outcomes(Session&)>& body) {
  diffulex_plan plan = sized<diffulex_plan>();
  const std::string dir = model_dir();
  diffulex_engine_config config = default_config(dir);
  config.cpu_threads = 1;
  EXPECT_EQ(diffulex_engine_plan(&config, &plan, nullptr), DIFFULEX_OK);
  const uint64_t page = plan.kv_bytes / plan.kv_pages;
  Session session({{"cpu_threads", "1"}, {"max_model_len", "64"}}, {},
                  [&](auto& c) { c.kv_bytes = 2 * page; });
  const auto params = params_of(4);
  const diffulex_request_id id = session.submit(prompt_of(40), &params);
  session.run();
  forget(session, id);
  return body(session);
}

Outcomes pin_too_much() {
  return with_two_pages(
      [](Session& session) { return Outcomes{pin_fails(session, prompt_of(40))}; });
}

Outcome unpin_fails(uint64_t pin) {
  return attempt("", [&](auto** e) { return diffulex_cache_unpin(survivor().engine, pin, e); });
}

// The number of entries is told, the array is left alone.
Outcomes small_list() {
  return with_two_pages([](Session& session) {
    diffulex_cache_entry entries[1] = {};
    size_t count = 0;
    const Outcome outcome = attempt(
        "",
        [&](auto** e) {
          return diffulex_cache_list(session.engine, nullptr, sizeof(entries[0]), 0, &count, e);
        },
        entries);
    EXPECT_EQ(count, 1u);
    return Outcomes{outcome};
  });
}

Outcomes null_entries() {
  size_t count = 77;
  return {attempt(
      "",
      [&](auto** e) {
        return diffulex_cache_list(survivor().engine, nullptr, sizeof(diffulex_cache_entry), 4,
                                   &count, e);
      },
      count)};
}

Outcomes null_matched() {
  const auto tokens = prompt_of(4);
  return {attempt("", [&](auto** e) {
    return diffulex_cache_match(survivor().engine, tokens.data(), 4, nullptr, nullptr, e);
  })};
}

Outcomes null_pin() {
  const auto tokens = prompt_of(4);
  return {attempt("", [&](auto** e) {
    return diffulex_cache_pin(survivor().engine, tokens.data(), 4, nullptr, nullptr, nullptr, e);
  })};
}

}  // namespace

void add_cache_cases(Cases* cases) {
  Cases& c = *cases;
  c["pin-nothing"] = [] {
    return Outcomes{pin_fails(survivor(), prompt_of(60)), pin_fails(survivor(), {})};
  };
  c["pin-too-much"] = pin_too_much;
  c["unpin-unknown"] = [] { return Outcomes{unpin_fails(0), unpin_fails(12345)}; };
  c["entries-too-small"] = small_list;
  c["null-entries"] = null_entries;
  c["null-matched"] = null_matched;
  c["null-pin"] = null_pin;
}

}  // namespace diffulex_tests::errors
