// NULL where a function needs something. What a row calls `option` is the parameter.
#include "errors_engine.h"

namespace diffulex_tests::errors {
namespace {

using Call = std::function<diffulex_status(diffulex_error**)>;

Outcomes all_fail(const std::vector<Call>& calls) {
  Outcomes outcomes;
  for (const Call& call : calls) outcomes.push_back(attempt("", call));
  return outcomes;
}

diffulex_engine* engine() { return survivor().engine; }
const diffulex_tokenizer* tokenizer() { return diffulex_engine_tokenizer(engine()); }

const diffulex_token kTokens[] = {1, 2};
const diffulex_message kMessage = {"user", "hello"};

struct Detok {
  Detok() { EXPECT_EQ(diffulex_detok_create(tokenizer(), 0, &handle, nullptr), DIFFULEX_OK); }
  ~Detok() { diffulex_detok_destroy(handle); }
  diffulex_detok* handle = nullptr;
};

diffulex_status push(diffulex_detok* detok, const diffulex_token* tokens, char* text, size_t* size,
                     diffulex_error** e) {
  return diffulex_detok_push(detok, tokens, 2, text, 8, size, e);
}

Outcomes null_engine() {
  diffulex_event event{};
  size_t count = 0;
  diffulex_request_id id = 0;
  auto info = sized<diffulex_engine_info>();
  auto stats = sized<diffulex_engine_stats>();
  auto request = sized<diffulex_request_info>();
  auto canvas = sized<diffulex_snapshot>();
  diffulex_engine_interrupt(nullptr);
  diffulex_engine_destroy(nullptr);
  EXPECT_EQ(diffulex_engine_tokenizer(nullptr), nullptr);
  return all_fail({[&](auto** e) { return diffulex_engine_get_info(nullptr, &info, e); },
                   [&](auto** e) { return diffulex_engine_get_stats(nullptr, &stats, e); },
                   [&](auto** e) { return diffulex_engine_step(nullptr, e); },
                   [&](auto** e) { return diffulex_engine_start(nullptr, e); },
                   [&](auto** e) { return diffulex_engine_stop(nullptr, 1, e); },
                   [&](auto** e) {
                     return diffulex_engine_wait(nullptr, &event, sizeof(event), 1, &count, 0, e);
                   },
                   [&](auto** e) {
                     return diffulex_engine_read_steps(nullptr, 0, nullptr, 0, 0, &count, e);
                   },
                   [&](auto** e) {
                     return diffulex_request_submit(nullptr, kTokens, 2, nullptr, &id, e);
                   },
                   [&](auto** e) {
                     return diffulex_request_submit_text(nullptr, "a", 1, nullptr, &id, e);
                   },
                   [&](auto** e) { return diffulex_request_get_info(nullptr, 1, &request, e); },
                   [&](auto** e) {
                     return diffulex_request_read_tokens(nullptr, 1, 0, nullptr, 0, &count, e);
                   },
                   [&](auto** e) {
                     return diffulex_request_read_text(nullptr, 1, 0, nullptr, 0, &count, e);
                   },
                   [&](auto** e) {
                     return diffulex_request_snapshot(nullptr, 1, &canvas, nullptr, 0, 0, nullptr,
                                                      0, 0, e);
                   }}) +
         Outcomes{silent(diffulex_request_abort(nullptr, 1)),
                  silent(diffulex_request_release(nullptr, 1))};
}

Outcomes null_config() {
  diffulex_engine* made = nullptr;
  auto plan = sized<diffulex_plan>();
  diffulex_engine_config_init(nullptr, sizeof(diffulex_engine_config));
  diffulex_request_params_init(nullptr, sizeof(diffulex_request_params));
  return all_fail({[&](auto** e) { return diffulex_engine_create(nullptr, &made, e); },
                   [&](auto** e) { return diffulex_engine_plan(nullptr, &plan, e); }});
}

Outcomes null_out() {
  size_t count = 0;
  const std::string dir = model_dir();
  const diffulex_engine_config config = default_config(dir);
  const diffulex_request_id id = survivor().submit({1, 2});
  Outcomes outcomes = all_fail(
      {[&](auto** e) { return diffulex_engine_create(&config, nullptr, e); },
       [&](auto** e) { return diffulex_engine_plan(&config, nullptr, e); },
       [&](auto** e) { return diffulex_engine_get_info(engine(), nullptr, e); },
       [&](auto** e) { return diffulex_engine_get_stats(engine(), nullptr, e); },
       [&](auto** e) {
         return diffulex_engine_read_steps(engine(), 0, nullptr, sizeof(diffulex_step_stats), 1,
                                           &count, e);
       },
       [&](auto** e) { return diffulex_request_submit(engine(), kTokens, 2, nullptr, nullptr, e); },
       [&](auto** e) {
         return diffulex_request_submit_text(engine(), "a", 1, nullptr, nullptr, e);
       },
       [&](auto** e) { return diffulex_request_get_info(engine(), id, nullptr, e); },
       [&](auto** e) {
         return diffulex_request_snapshot(engine(), id, nullptr, nullptr, 0, 0, nullptr, 0, 0, e);
       },
       [&](auto** e) { return diffulex_device_get(0, nullptr, e); },
       [&](auto** e) { return diffulex_engine_option(0, nullptr, e); },
       [&](auto** e) { return diffulex_strategy_option("multi_bd", 0, nullptr, e); },
       [&](auto** e) { return diffulex_tokenizer_load(dir.c_str(), nullptr, e); },
       [&](auto** e) { return diffulex_detok_create(tokenizer(), 0, nullptr, e); }});
  forget(survivor(), id);
  return outcomes;
}

Outcomes null_out_count() {
  diffulex_event event{};
  diffulex_token token = 0;
  return all_fail({[&](auto** e) {
                     return diffulex_engine_wait(engine(), &event, sizeof(event), 1, nullptr, 0, e);
                   },
                   [&](auto** e) {
                     return diffulex_tokenizer_encode(tokenizer(), "a", 1, 0, &token, 1, nullptr,
                                                      e);
                   }});
}

Outcomes null_out_size() {
  const Detok detok;
  char text[8] = "";
  return all_fail(
      {[&](auto** e) {
         return diffulex_tokenizer_decode(tokenizer(), kTokens, 2, 0, text, 8, nullptr, e);
       },
       [&](auto** e) {
         return diffulex_tokenizer_render_chat(tokenizer(), &kMessage, 1, nullptr, text, 8, nullptr,
                                               e);
       },
       [&](auto** e) { return push(detok.handle, kTokens, text, nullptr, e); },
       [&](auto** e) { return diffulex_detok_flush(detok.handle, text, 8, nullptr, e); }});
}

Outcomes null_tokens() {
  const Detok detok;
  diffulex_request_id id = 0;
  char text[8] = "";
  size_t size = 0;
  return all_fail(
      {[&](auto** e) { return diffulex_request_submit(engine(), nullptr, 2, nullptr, &id, e); },
       [&](auto** e) {
         return diffulex_tokenizer_encode(tokenizer(), "a", 1, 0, nullptr, 8, &size, e);
       },
       [&](auto** e) {
         return diffulex_tokenizer_decode(tokenizer(), nullptr, 2, 0, text, 8, &size, e);
       },
       [&](auto** e) { return push(detok.handle, nullptr, text, &size, e); }});
}

Outcomes null_text() {
  const Detok detok;
  diffulex_request_id id = 0;
  diffulex_token token = 0;
  size_t size = 0;
  return all_fail(
      {[&](auto** e) {
         return diffulex_request_submit_text(engine(), nullptr, 2, nullptr, &id, e);
       },
       [&](auto** e) {
         return diffulex_tokenizer_encode(tokenizer(), nullptr, 2, 0, &token, 1, &size, e);
       },
       [&](auto** e) {
         return diffulex_tokenizer_decode(tokenizer(), kTokens, 2, 0, nullptr, 8, &size, e);
       },
       [&](auto** e) {
         return diffulex_tokenizer_render_chat(tokenizer(), &kMessage, 1, nullptr, nullptr, 1000,
                                               &size, e);
       },
       [&](auto** e) { return push(detok.handle, kTokens, nullptr, &size, e); }});
}

Outcomes null_array(const char* what) {
  const diffulex_request_id id = survivor().submit({1, 2});
  auto canvas = sized<diffulex_snapshot>();
  diffulex_slot slot{};
  size_t count = 0;
  const std::map<std::string, Call> calls = {
      {"events",
       [&](auto** e) {
         return diffulex_engine_wait(engine(), nullptr, sizeof(diffulex_event), 1, &count, 0, e);
       }},
      {"slots",
       [&](auto** e) {
         return diffulex_request_snapshot(engine(), id, &canvas, nullptr, sizeof(slot), 1, nullptr,
                                          0, 0, e);
       }},
      {"blocks", [&](auto** e) {
         return diffulex_request_snapshot(engine(), id, &canvas, &slot, sizeof(slot), 1, nullptr,
                                          sizeof(diffulex_block), 1, e);
       }}};
  Outcomes outcomes = {attempt("", calls.at(what), canvas, slot, count)};
  forget(survivor(), id);
  return outcomes;
}

Outcomes null_tokenizer() {
  diffulex_detok* detok = nullptr;
  diffulex_token token = 0;
  char text[8] = "";
  size_t size = 0;
  diffulex_tokenizer_release(nullptr);
  EXPECT_EQ(diffulex_tokenizer_retain(nullptr), nullptr);
  EXPECT_EQ(diffulex_tokenizer_vocab_size(nullptr), 0);
  EXPECT_EQ(diffulex_tokenizer_special(nullptr, "eos"), -1);
  EXPECT_EQ(diffulex_tokenizer_special(tokenizer(), nullptr), -1);
  return all_fail(
      {[&](auto** e) { return diffulex_tokenizer_encode(nullptr, "a", 1, 0, &token, 1, &size, e); },
       [&](auto** e) {
         return diffulex_tokenizer_decode(nullptr, kTokens, 2, 0, text, 8, &size, e);
       },
       [&](auto** e) {
         return diffulex_tokenizer_render_chat(nullptr, &kMessage, 1, nullptr, text, 8, &size, e);
       },
       [&](auto** e) { return diffulex_detok_create(nullptr, 0, &detok, e); }});
}

Outcomes null_detok() {
  char text[8] = "";
  size_t size = 0;
  diffulex_detok_destroy(nullptr);
  return all_fail({[&](auto** e) { return push(nullptr, kTokens, text, &size, e); },
                   [&](auto** e) { return diffulex_detok_flush(nullptr, text, 8, &size, e); }});
}

Outcomes render_fails(const diffulex_message* messages) {
  size_t size = 0;
  return all_fail({[&](auto** e) {
    return diffulex_tokenizer_render_chat(tokenizer(), messages, 1, nullptr, nullptr, 0, &size, e);
  }});
}

Outcomes null_role() {
  const diffulex_message message = {nullptr, "hello"};
  return render_fails(&message);
}

Outcomes null_content() {
  const diffulex_message message = {"user", nullptr};
  return render_fails(&message);
}

Outcomes null_strategy() {
  auto option = sized<diffulex_option_info>();
  EXPECT_EQ(diffulex_strategy_summary(nullptr), nullptr);
  return all_fail({[&](auto** e) { return diffulex_strategy_option(nullptr, 0, &option, e); }});
}

Outcomes null_directory() {
  diffulex_tokenizer* loaded = nullptr;
  return all_fail({[&](auto** e) { return diffulex_tokenizer_load(nullptr, &loaded, e); },
                   [&](auto** e) { return diffulex_tokenizer_load("", &loaded, e); }});
}

}  // namespace

void add_null_cases(Cases* cases) {
  Cases& c = *cases;
  c["null-engine"] = null_engine;
  c["null-config"] = null_config;
  c["null-out"] = null_out;
  c["null-out-count"] = null_out_count;
  c["null-out-size"] = null_out_size;
  c["null-tokens"] = null_tokens;
  c["null-text"] = null_text;
  for (const char* array : {"events", "slots", "blocks"})
    c[std::string("null-") + array] = [=] { return null_array(array); };
  c["null-tokenizer"] = null_tokenizer;
  c["null-detok"] = null_detok;
  c["null-messages"] = [] { return render_fails(nullptr); };
  c["null-role"] = null_role;
  c["null-content"] = null_content;
  c["null-strategy"] = null_strategy;
  c["tokenizer-dir-unset"] = null_directory;
}

}  // namespace diffulex_tests::errors
