// Bad input: each kind gives its status, a message that names the field, and an engine that goes
// on.
#include <gtest/gtest.h>

#include <cstring>

#include "session.h"

namespace diffulex_tests {
namespace {

Failure create(const std::function<void(diffulex_engine_config&)>& tune) {
  const std::string dir = model_dir();
  diffulex_engine_config config = default_config(dir);
  tune(config);
  diffulex_engine* engine = nullptr;
  diffulex_error* error = nullptr;
  const diffulex_status status = diffulex_engine_create(&config, &engine, &error);
  EXPECT_EQ(engine, nullptr);
  const Failure failure = take(error);
  EXPECT_EQ(status, failure.status);
  EXPECT_FALSE(failure.message.empty());
  return failure;
}

Failure with_option(const char* key, const char* value) {
  const diffulex_kv option{key, value};
  return create([&](auto& config) {
    config.engine_options = &option;
    config.engine_option_count = 1;
  });
}

TEST(Misuse, EngineConfig) {
  EXPECT_EQ(create([](auto& c) { c.model_dir = nullptr; }).option, "model_dir");
  EXPECT_EQ(create([](auto& c) { c.model_dir = "/nowhere/at/all"; }).status, DIFFULEX_E_IO);
  EXPECT_EQ(create([](auto& c) { c.devices = "cuda:99"; }).status, DIFFULEX_E_DEVICE_UNAVAILABLE);
  EXPECT_EQ(create([](auto& c) { c.strategy = "greedy"; }).status, DIFFULEX_E_STRATEGY_UNSUPPORTED);
  EXPECT_EQ(create([](auto& c) { c.run_mode = 9; }).option, "run_mode");
  EXPECT_EQ(create([](auto& c) { c.weight_dtype = 77; }).option, "weight_dtype");
  EXPECT_EQ(create([](auto& c) { c.kv_dtype = 2; }).option, "kv_dtype");
  EXPECT_EQ(create([](auto& c) { c.page_size = 12; }).option, "page_size");
  EXPECT_EQ(create([](auto& c) { c.buffer_blocks = 33; }).option, "buffer_blocks");
  EXPECT_EQ(create([](auto& c) { c.max_model_len = 4096; }).option, "max_model_len");
  EXPECT_EQ(create([](auto& c) { c.kv_bytes = 100; }).option, "kv_bytes");
  EXPECT_EQ(create([](auto& c) {
              c.max_model_len = 2048;
              c.kv_bytes = 1 << 20;  // holds less than one such request
            }).option,
            "kv_bytes");
  EXPECT_EQ(create([](auto& c) { c.struct_size = 3; }).status, DIFFULEX_E_ABI_MISMATCH);
  EXPECT_EQ(create([](auto& c) {
              c.max_requests = 16;
              c.buffer_blocks = 4;
              c.max_batched_tokens = 100;
            }).option,
            "max_batched_tokens");
}

TEST(Misuse, EngineOptions) {
  EXPECT_EQ(with_option("page_sise", "8").status, DIFFULEX_E_UNKNOWN_OPTION);
  EXPECT_EQ(with_option("kv_layout", "paged").status, DIFFULEX_E_UNKNOWN_OPTION);  // there is one
  EXPECT_EQ(with_option("page_size", "eight").status, DIFFULEX_E_INVALID_ARGUMENT);
  EXPECT_EQ(with_option("page_size", "8.5").status, DIFFULEX_E_INVALID_ARGUMENT);
  EXPECT_EQ(with_option("max_requests", "0").option, "max_requests");
  EXPECT_EQ(with_option("prefix_caching", "perhaps").option, "prefix_caching");
  const diffulex_kv option{"page_size", "16"};
  const Failure twice = create([&](auto& config) {
    config.page_size = 8;
    config.engine_options = &option;
    config.engine_option_count = 1;
  });
  EXPECT_EQ(twice.option, "page_size");
}

TEST(Misuse, StructsOfOtherVersions) {
  struct Longer {
    diffulex_engine_config config;
    uint64_t future;
  } longer{};
  const std::string dir = model_dir();
  diffulex_engine_config_init(&longer.config, sizeof(longer));
  longer.config.model_dir = dir.c_str();
  diffulex_engine* engine = nullptr;
  ASSERT_EQ(diffulex_engine_create(&longer.config, &engine, nullptr), DIFFULEX_OK);
  diffulex_engine_destroy(engine);
  longer.future = 1;
  diffulex_error* error = nullptr;
  EXPECT_EQ(diffulex_engine_create(&longer.config, &engine, &error), DIFFULEX_E_ABI_MISMATCH);
  take(error);
  // An older caller's shorter output struct is filled as far as it goes.
  Session session;
  diffulex_engine_stats stats;
  std::memset(&stats, 0xAB, sizeof(stats));
  stats.struct_size = 16;
  EXPECT_EQ(diffulex_engine_get_stats(session.engine, &stats, nullptr), DIFFULEX_OK);
  EXPECT_EQ(stats.struct_size, 16u);
  EXPECT_EQ(stats.steps, 0xABABABABABABABABu);
  // A newer caller's longer array elements: the tail is zero.
  session.submit({1021, 304});
  session.run();
  unsigned char event[sizeof(diffulex_event) + 8];
  std::memset(event, 0xAB, sizeof(event));
  size_t count = 0;
  EXPECT_EQ(diffulex_engine_wait(session.engine, reinterpret_cast<diffulex_event*>(event),
                                 sizeof(event), 1, &count, 0, nullptr),
            DIFFULEX_OK);
  EXPECT_EQ(event[sizeof(diffulex_event)], 0);
}

TEST(Misuse, Requests) {
  Session session(Options{{"max_model_len", "64"}, {"max_queue", "2"}});
  ASSERT_NE(session.engine, nullptr);
  const auto fails = [&](const std::vector<diffulex_token>& prompt,
                         const std::function<void(diffulex_request_params&)>& tune) {
    auto params = params_of(10);
    tune(params);
    diffulex_request_id id = 0;
    diffulex_error* error = nullptr;
    const diffulex_status status =
        diffulex_request_submit(session.engine, prompt.data(), prompt.size(), &params, &id, &error);
    const Failure failure = take(error);
    EXPECT_EQ(status, failure.status);
    EXPECT_EQ(id, 0u);
    return failure;
  };
  const auto none = [](auto&) {};
  EXPECT_EQ(fails({}, none).option, "prompt");
  EXPECT_EQ(fails({1, 2, 1023}, none).option, "prompt");
  EXPECT_EQ(fails({1, -2}, none).option, "prompt");
  EXPECT_EQ(fails({1, 1024}, none).option, "prompt");
  EXPECT_EQ(fails(std::vector<diffulex_token>(64, 5), none).status, DIFFULEX_E_CONTEXT_LENGTH);
  EXPECT_EQ(fails({1}, [](auto& p) { p.temperature = -1; }).option, "temperature");
  EXPECT_EQ(fails({1}, [](auto& p) { p.top_p = 1.5f; }).option, "top_p");
  EXPECT_EQ(fails({1}, [](auto& p) { p.top_k = -1; }).option, "top_k");
  EXPECT_EQ(fails({1}, [](auto& p) { p.flags = 1u << 30; }).option, "flags");
  const diffulex_kv unknown{"no_such", "1"}, bad{"accept_threshold", "2"};
  EXPECT_EQ(fails({1}, [&](auto& p) { p.strategy_options = &unknown, p.strategy_option_count = 1; })
                .status,
            DIFFULEX_E_UNKNOWN_OPTION);
  EXPECT_EQ(
      fails({1}, [&](auto& p) { p.strategy_options = &bad, p.strategy_option_count = 1; }).option,
      "accept_threshold");
  const std::vector<diffulex_token> stops(17, 3);
  EXPECT_EQ(
      fails({1}, [&](auto& p) { p.stop_tokens = stops.data(), p.stop_token_count = stops.size(); })
          .option,
      "stop_tokens");
  session.submit({1, 2});
  session.submit({1, 2});
  EXPECT_EQ(fails({1}, none).status, DIFFULEX_E_QUEUE_FULL);
  session.run();
  const diffulex_request_id id = session.submit({1, 2});  // the engine goes on
  session.run();
  EXPECT_EQ(session.info(id).state, DIFFULEX_REQ_FINISHED);
}

TEST(Misuse, NullsAndStrangers) {
  Session session;
  ASSERT_NE(session.engine, nullptr);
  size_t count = 0;
  diffulex_event event;
  diffulex_engine_destroy(nullptr);
  diffulex_error_free(nullptr);
  diffulex_tokenizer_release(nullptr);
  diffulex_detok_destroy(nullptr);
  EXPECT_EQ(diffulex_engine_step(nullptr, nullptr), DIFFULEX_E_INVALID_ARGUMENT);
  EXPECT_EQ(diffulex_engine_wait(session.engine, nullptr, 64, 1, &count, 0, nullptr),
            DIFFULEX_E_INVALID_ARGUMENT);
  EXPECT_EQ(diffulex_engine_wait(session.engine, &event, 64, 1, nullptr, 0, nullptr),
            DIFFULEX_E_INVALID_ARGUMENT);
  EXPECT_EQ(diffulex_request_abort(session.engine, 12345), DIFFULEX_E_NOT_FOUND);
  EXPECT_EQ(diffulex_request_read_tokens(session.engine, 0, 0, nullptr, 0, &count, nullptr),
            DIFFULEX_E_NOT_FOUND);
  const diffulex_request_id id = session.submit({1, 2});
  EXPECT_EQ(diffulex_request_read_tokens(session.engine, id, 5, nullptr, 0, &count, nullptr),
            DIFFULEX_E_INVALID_ARGUMENT);
  EXPECT_EQ(diffulex_error_status(nullptr), DIFFULEX_OK);
  EXPECT_STREQ(diffulex_error_message(nullptr), "");
  EXPECT_STREQ(diffulex_status_name(-999), "DIFFULEX_UNKNOWN");
  EXPECT_STREQ(diffulex_status_name(DIFFULEX_E_IO), "DIFFULEX_E_IO");
}

TEST(Library, DescribesItself) {
  EXPECT_EQ(diffulex_version(), 100u);
  EXPECT_STREQ(diffulex_version_string(), "0.1.0");
  EXPECT_EQ(diffulex_abi_version(), 1u);
  EXPECT_EQ(diffulex_has_feature("cpu"), 1);
  EXPECT_EQ(diffulex_has_feature("teleport"), 0);
  const size_t devices = diffulex_device_count();
  ASSERT_GE(devices, 1u);  // the CPU first
  diffulex_device_info device{};
  device.struct_size = sizeof(device);
  ASSERT_EQ(diffulex_device_get(0, &device, nullptr), DIFFULEX_OK);
  EXPECT_STREQ(device.selector, "cpu");
  EXPECT_GT(device.memory_total, device.memory_free);
  EXPECT_EQ(diffulex_device_get(devices, &device, nullptr), DIFFULEX_E_NOT_FOUND);
  for (size_t i = 0; i < devices; ++i) {  // who cannot be used says why
    ASSERT_EQ(diffulex_device_get(i, &device, nullptr), DIFFULEX_OK);
    EXPECT_NE(device.usable != 0, std::strlen(device.reason) > 0) << device.selector;
    EXPECT_EQ(device.usable != 0 && i > 0, device.compute_major > 0) << device.selector;
  }
  EXPECT_EQ(devices > 1, diffulex_has_feature("cuda") != 0);
  ASSERT_STREQ(diffulex_strategy_name(0), "multi_bd");
  EXPECT_NE(diffulex_strategy_summary("multi_bd"), nullptr);
  diffulex_option_info option{};
  option.struct_size = sizeof(option);
  size_t count = 0;
  while (diffulex_engine_option(count, &option, nullptr) == DIFFULEX_OK) {
    EXPECT_GT(std::strlen(option.summary), 10u) << option.key;
    EXPECT_GT(std::strlen(option.allowed), 0u) << option.key;
    ++count;
  }
  EXPECT_GT(count, 5u);
  EXPECT_EQ(diffulex_strategy_option("multi_bd", 0, &option, nullptr), DIFFULEX_OK);
  EXPECT_EQ(diffulex_strategy_option("nope", 0, &option, nullptr), DIFFULEX_E_STRATEGY_UNSUPPORTED);
}

TEST(Library, PlansMemoryBeforeLoading) {
  const std::string dir = model_dir();
  diffulex_engine_config config = default_config(dir);
  diffulex_plan plan{};
  plan.struct_size = sizeof(plan);
  ASSERT_EQ(diffulex_engine_plan(&config, &plan, nullptr), DIFFULEX_OK);
  EXPECT_GT(plan.weight_bytes, 10u << 20);
  EXPECT_EQ(plan.kv_bytes % plan.kv_pages, 0u);
  EXPECT_EQ(plan.total_bytes, plan.weight_bytes + plan.kv_bytes + plan.workspace_bytes);
  EXPECT_EQ(plan.shortfall_bytes, 0u);
  EXPECT_EQ(plan.max_model_len, 2048u);
  config.kv_bytes = uint64_t{1} << 42;
  config.page_size = 4096;
  ASSERT_EQ(diffulex_engine_plan(&config, &plan, nullptr), DIFFULEX_OK);
  EXPECT_GT(plan.shortfall_bytes, 0u);
  diffulex_engine* engine = nullptr;
  const bool host = config.devices == nullptr || std::strcmp(config.devices, "cpu") == 0;
  EXPECT_EQ(diffulex_engine_create(&config, &engine, nullptr),
            host ? DIFFULEX_E_HOST_MEMORY : DIFFULEX_E_DEVICE_MEMORY);
}

TEST(Library, LoadReportsProgressAndCanBeCancelled) {
  struct Seen {
    int calls = 0, cancel_at = -1;
    float fraction = 0;
    uint64_t weights = 0;
  } seen;
  const auto progress = [](const diffulex_progress* p, void* user) -> int32_t {
    auto& s = *static_cast<Seen*>(user);
    EXPECT_GE(p->fraction, s.fraction);
    EXPECT_NE(p->item, nullptr);
    s.fraction = p->fraction;
    if (p->phase == DIFFULEX_LOAD_WEIGHTS) s.weights = p->total;
    return s.calls++ == s.cancel_at ? 1 : 0;
  };
  {
    Session session({}, {}, [&](auto& c) { c.progress = progress, c.progress_user_data = &seen; });
    ASSERT_NE(session.engine, nullptr) << session.failure.message;
    EXPECT_EQ(seen.fraction, 1.0f);
    EXPECT_GT(seen.weights, 0u);
  }
  // How often it is called depends on the machine's mood, so a late cancel may come too late.
  const int calls = seen.calls;
  for (int at = 0; at < calls; ++at) {
    seen = Seen{0, at, 0, 0};
    Session session({}, {}, [&](auto& c) { c.progress = progress, c.progress_user_data = &seen; });
    EXPECT_EQ(session.failure.status, seen.calls > at ? DIFFULEX_E_CANCELLED : DIFFULEX_OK);
    EXPECT_EQ(session.engine == nullptr, seen.calls > at);
    if (at < 2) {
      EXPECT_EQ(session.engine, nullptr);
    }
  }
}

TEST(Library, LogsOnlyToTheCaller) {
  std::vector<std::string> lines;
  const auto log = [](const diffulex_log_record* record, void* user) {
    EXPECT_EQ(std::strchr(record->message, '\n'), nullptr);
    static_cast<std::vector<std::string>*>(user)->push_back(record->message);
  };
  Session session({}, {}, [&](auto& c) {
    c.log = log, c.log_user_data = &lines, c.log_level = DIFFULEX_LOG_TRACE;
  });
  ASSERT_NE(session.engine, nullptr);
  EXPECT_FALSE(lines.empty());
}

}  // namespace
}  // namespace diffulex_tests
