// A user's view of an engine for tests: every call checked, handles freed.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "diffulex.h"

namespace diffulex_tests {

using Options = std::vector<std::pair<std::string, std::string>>;

inline std::string model_dir(const std::string& name = "tiny-sdar") {
  return std::string(DIFFULEX_MODELS_DIR) + "/" + name;
}

// What a failing call says; the error is freed.
struct Failure {
  diffulex_status status = DIFFULEX_OK;
  std::string message, option;
};

inline Failure take(diffulex_error* error) {
  Failure failure{diffulex_error_status(error), diffulex_error_message(error), ""};
  if (const char* option = diffulex_error_detail(error, "option")) failure.option = option;
  diffulex_error_free(error);
  return failure;
}

inline diffulex_engine_config default_config(const std::string& dir) {
  diffulex_engine_config config;
  diffulex_engine_config_init(&config, sizeof(config));
  config.model_dir = dir.c_str();
  config.devices = std::getenv("DIFFULEX_TEST_DEVICE");  // the suite runs on any device
  return config;
}

// The test's options, and those that DIFFULEX_TEST_OPTIONS ("cuda_graphs=false,max_requests=4") has
// besides: tools that watch a device need smaller or plainer engines.
inline Options with_asked(Options options) {
  const char* const asked = std::getenv("DIFFULEX_TEST_OPTIONS");
  std::stringstream list(asked == nullptr ? "" : asked);
  for (std::string entry; std::getline(list, entry, ',');) {
    const size_t equals = entry.find('=');
    const std::string key = entry.substr(0, equals);
    const bool own = std::any_of(options.begin(), options.end(),
                                 [&](const auto& option) { return option.first == key; });
    if (!own && equals != std::string::npos) options.emplace_back(key, entry.substr(equals + 1));
  }
  return options;
}

class Session {
 public:
  using Tune = std::function<void(diffulex_engine_config&)>;

  explicit Session(const Options& engine_options = {}, const Options& strategy_options = {},
                   const Tune& tune = nullptr) {
    const std::string dir = model_dir();
    diffulex_engine_config config = default_config(dir);
    const Options asked = with_asked(engine_options);
    const auto e = pairs(asked), s = pairs(strategy_options);
    config.engine_options = e.data();
    config.engine_option_count = e.size();
    config.strategy_options = s.data();
    config.strategy_option_count = s.size();
    if (tune) tune(config);
    diffulex_error* error = nullptr;
    const diffulex_status status = diffulex_engine_create(&config, &engine, &error);
    failure = take(error);
    EXPECT_EQ(status, failure.status);
  }
  ~Session() { diffulex_engine_destroy(engine); }
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  std::string chat(const std::vector<std::pair<std::string, std::string>>& turns) const {
    std::vector<diffulex_message> messages;
    for (const auto& [role, content] : turns) messages.push_back({role.c_str(), content.c_str()});
    std::string text(1 << 16, '\0');
    size_t size = 0;
    EXPECT_EQ(diffulex_tokenizer_render_chat(diffulex_engine_tokenizer(engine), messages.data(),
                                             messages.size(), nullptr, text.data(), text.size(),
                                             &size, nullptr),
              DIFFULEX_OK);
    text.resize(size);
    return text;
  }

  diffulex_request_id submit(const std::vector<diffulex_token>& prompt,
                             const diffulex_request_params* params = nullptr) {
    diffulex_request_id id = 0;
    diffulex_error* error = nullptr;
    const diffulex_status status =
        diffulex_request_submit(engine, prompt.data(), prompt.size(), params, &id, &error);
    failure = take(error);
    EXPECT_EQ(status, failure.status);
    return id;
  }

  diffulex_request_id submit_text(const std::string& prompt,
                                  const diffulex_request_params* params = nullptr) {
    diffulex_request_id id = 0;
    diffulex_error* error = nullptr;
    const diffulex_status status =
        diffulex_request_submit_text(engine, prompt.data(), prompt.size(), params, &id, &error);
    failure = take(error);
    EXPECT_EQ(status, failure.status);
    return id;
  }

  void run() {
    diffulex_status status = DIFFULEX_OK;
    while ((status = diffulex_engine_step(engine, nullptr)) == DIFFULEX_OK) {
    }
    EXPECT_EQ(status, DIFFULEX_S_IDLE);
  }

  diffulex_request_info info(diffulex_request_id id) const {
    diffulex_request_info info{};
    info.struct_size = sizeof(info);
    EXPECT_EQ(diffulex_request_get_info(engine, id, &info, nullptr), DIFFULEX_OK);
    return info;
  }

  std::vector<diffulex_token> tokens(diffulex_request_id id) const {
    std::vector<diffulex_token> out(4096);
    size_t count = 0;
    EXPECT_GE(diffulex_request_read_tokens(engine, id, 0, out.data(), out.size(), &count, nullptr),
              0);
    out.resize(count);
    return out;
  }

  std::string text(diffulex_request_id id) const {
    std::string out(1 << 16, '\0');
    size_t size = 0;
    EXPECT_GE(diffulex_request_read_text(engine, id, 0, out.data(), out.size(), &size, nullptr), 0);
    out.resize(size);
    return out;
  }

  diffulex_engine_stats stats() const {
    diffulex_engine_stats stats{};
    stats.struct_size = sizeof(stats);
    EXPECT_EQ(diffulex_engine_get_stats(engine, &stats, nullptr), DIFFULEX_OK);
    return stats;
  }

  std::vector<diffulex_event> events(int64_t timeout_ms = 0) {
    std::vector<diffulex_event> out(64);
    size_t count = 0;
    EXPECT_GE(diffulex_engine_wait(engine, out.data(), sizeof(diffulex_event), out.size(), &count,
                                   timeout_ms, nullptr),
              0);
    out.resize(count);
    return out;
  }

  diffulex_engine* engine = nullptr;
  Failure failure;  // of the last call that could fail

 private:
  static std::vector<diffulex_kv> pairs(const Options& options) {
    std::vector<diffulex_kv> out;
    for (const auto& [key, value] : options) out.push_back({key.c_str(), value.c_str()});
    return out;
  }
};

inline diffulex_request_params params_of(uint32_t max_tokens, uint32_t flags = 0) {
  diffulex_request_params params;
  diffulex_request_params_init(&params, sizeof(params));
  params.max_tokens = max_tokens;
  params.flags = flags;
  return params;
}

}  // namespace diffulex_tests
