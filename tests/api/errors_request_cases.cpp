// Requests that cannot be served.
#include <cmath>
#include <limits>

#include "errors_checkpoint.h"
#include "errors_engine.h"

namespace diffulex_tests::errors {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();
const std::vector<diffulex_token> kPrompt = {1, 2, 3};

using TuneParams = std::function<void(diffulex_request_params&)>;

Outcome params_fail(const TuneParams& tune, Session& session = survivor()) {
  diffulex_request_params params = params_of(4);
  tune(params);
  return submit_fails(session, kPrompt, &params);
}

template <class T>
Outcomes field_fails(T diffulex_request_params::*field, const std::vector<T>& values) {
  Outcomes outcomes;
  for (const T value : values)
    outcomes.push_back(params_fail([=](auto& params) { params.*field = value; }));
  return outcomes;
}

Outcome text_fails(Session& session, const std::string& text, const std::string& culprit = "") {
  diffulex_request_id id = 77;
  return attempt(
      culprit,
      [&](diffulex_error** e) {
        return diffulex_request_submit_text(session.engine, text.data(), text.size(), nullptr, &id,
                                            e);
      },
      id);
}

Outcomes prompt_fails(const std::vector<std::vector<diffulex_token>>& prompts) {
  Outcomes outcomes;
  for (const auto& prompt : prompts) outcomes.push_back(submit_fails(survivor(), prompt, nullptr));
  return outcomes;
}

Outcomes empty_prompt() { return prompt_fails({{}}) + Outcomes{text_fails(survivor(), "")}; }

Outcomes long_prompt() {
  return prompt_fails({std::vector<diffulex_token>(kMaxModelLen, 5),
                       std::vector<diffulex_token>(kMaxModelLen + 1, 5)}) +
         Outcomes{text_fails(survivor(), std::string(100'000, 'x'))};
}

Outcomes mask_in_prompt() {
  return prompt_fails({{1023}, {1, 1023, 2}}) + Outcomes{text_fails(survivor(), "<|MASK|>")};
}

Outcomes bad_stop_tokens(const std::vector<diffulex_token>& tokens) {
  return {params_fail([&](auto& params) {
    params.stop_tokens = tokens.data();
    params.stop_token_count = tokens.size();
  })};
}

Outcomes bad_stop_string(const char* string, Session& session = survivor()) {
  const std::vector<const char*> strings = {"fine", string};
  return {params_fail(
      [&](auto& params) {
        params.stop_strings = strings.data();
        params.stop_string_count = strings.size();
      },
      session)};
}

Outcomes bad_options(const std::vector<diffulex_kv>& options) {
  return {params_fail([&](auto& params) {
    params.strategy_options = options.data();
    params.strategy_option_count = options.size();
  })};
}

Outcomes null_options() {
  return Outcomes{params_fail([](auto& params) { params.strategy_option_count = 1; })} +
         bad_options({{nullptr, "1"}}) + bad_options({{"accept_threshold", nullptr}});
}

Outcomes full_queue() {
  Session& session = survivor();
  std::vector<diffulex_request_id> ids;
  for (uint32_t i = 0; i < kMaxQueue; ++i) ids.push_back(session.submit(kPrompt));
  Outcomes outcomes = {submit_fails(session, kPrompt, nullptr)};
  for (const diffulex_request_id id : ids) forget(session, id);
  return outcomes;
}

// Runs a case on an engine whose model has no tokenizer.
Outcomes without_tokenizer(const std::function<Outcomes(Session&, const std::string&)>& body) {
  const TempDir dir;
  TinyCheckpoint().write(dir.path());
  Session session({{"cpu_threads", "1"}}, {}, [&](auto& c) { c.model_dir = dir.path().c_str(); });
  if (session.engine == nullptr) {
    ADD_FAILURE() << session.failure.message;
    return {};
  }
  EXPECT_EQ(diffulex_engine_tokenizer(session.engine), nullptr);
  return body(session, dir.path());
}

Outcomes text_without_tokenizer() {
  return without_tokenizer([](Session& session, const std::string&) {
    return Outcomes{text_fails(session, "hello", "tokenizer")};
  });
}

Outcomes stop_string_without_tokenizer() {
  return without_tokenizer(
      [](Session& session, const std::string&) { return bad_stop_string("stop", session); });
}

Outcomes read_text_without_tokenizer() {
  return without_tokenizer([](Session& session, const std::string&) {
    const diffulex_request_id id = session.submit(kPrompt);
    char text[8] = "";
    size_t size = 77;
    return Outcomes{attempt(
        "tokenizer",
        [&](auto** e) {
          return diffulex_request_read_text(session.engine, id, 0, text, sizeof(text), &size, e);
        },
        text, size)};
  });
}

}  // namespace

void add_request_cases(Cases* cases) {
  using P = diffulex_request_params;
  Cases& c = *cases;
  c["prompt-empty"] = empty_prompt;
  c["prompt-too-long"] = long_prompt;
  c["prompt-mask"] = mask_in_prompt;
  c["prompt-negative"] = [] { return prompt_fails({{-1}, {1, INT32_MIN}}); };
  c["prompt-too-large"] = [] { return prompt_fails({{1024}, {1, INT32_MAX}}); };
  c["temperature"] = [] { return field_fails(&P::temperature, {-0.1f, kNan, kInf}); };
  c["top-p"] = [] { return field_fails(&P::top_p, {-0.1f, 1.5f, kNan}); };
  c["top-k"] = [] { return field_fails(&P::top_k, {-1, INT32_MIN}); };
  c["min-p"] = [] { return field_fails(&P::min_p, {-0.1f, 1.1f, kNan}); };
  c["request-flags"] = [] { return field_fails(&P::flags, {8u, 1u << 31}); };
  c["repetition-run"] = [] { return field_fails(&P::max_repetition_run, {1u, UINT32_MAX}); };
  c["priority"] = [] { return field_fails(&P::priority, {-1001, 1001, INT32_MIN}); };
  c["stop-tokens-range"] = [] { return bad_stop_tokens({-1}) + bad_stop_tokens({5, 1024}); };
  c["stop-tokens-many"] = [] { return bad_stop_tokens(std::vector<diffulex_token>(17, 3)); };
  c["stop-tokens-null"] = [] { return field_fails(&P::stop_token_count, {size_t{1}}); };
  c["stop-string-empty"] = [] { return bad_stop_string(""); };
  c["stop-string-utf8"] = [] {
    return bad_stop_string("\xA9") + bad_stop_string("a\xC3") + bad_stop_string("\xFF");
  };
  c["stop-strings-null"] = [] {
    return bad_stop_string(nullptr) + field_fails(&P::stop_string_count, {size_t{1}});
  };
  c["request-option-unknown"] = [] { return bad_options({{"no_such", "1"}}); };
  c["request-option-mistyped"] = [] { return bad_options({{"accept_threshold", "high"}}); };
  c["request-option-range"] = [] { return bad_options({{"accept_threshold", "-1"}}); };
  c["request-option-twice"] = [] {
    return bad_options({{"accept_threshold", "0.5"}, {"accept_threshold", "0.6"}});
  };
  c["request-options-null"] = null_options;
  c["queue-full"] = full_queue;
  c["text-without-tokenizer"] = text_without_tokenizer;
  c["stop-string-without-tokenizer"] = stop_string_without_tokenizer;
  c["read-text-without-tokenizer"] = read_text_without_tokenizer;
}

}  // namespace diffulex_tests::errors
