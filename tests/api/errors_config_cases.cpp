// Engines that cannot be what they were asked to be.
#include <limits>

#include "errors_engine.h"

namespace diffulex_tests::errors {
namespace {

Outcomes with_options(const std::vector<diffulex_kv>& options, const std::string& culprit = "") {
  return config_fails(
      [&](auto& config) {
        config.engine_options = options.data();
        config.engine_option_count = options.size();
      },
      culprit);
}

Outcomes with_strategy_options(const std::vector<diffulex_kv>& options) {
  return config_fails([&](auto& config) {
    config.strategy_options = options.data();
    config.strategy_option_count = options.size();
  });
}

// Every engine option of a type, each with each of these values.
Outcomes each_option(int32_t type, const std::vector<const char*>& values) {
  Outcomes outcomes;
  auto option = sized<diffulex_option_info>();
  for (size_t i = 0; diffulex_engine_option(i, &option, nullptr) == DIFFULEX_OK; ++i) {
    if (option.type != type) continue;
    for (const char* value : values)
      outcomes = outcomes + with_options({{option.key, value}}, option.key);
  }
  return outcomes;
}

Outcomes mistyped_option() {
  return each_option(DIFFULEX_OPTION_INT, {"", "eight", "8.5", "8 ", "0x8", "nan"}) +
         each_option(DIFFULEX_OPTION_BOOL, {"", "perhaps", "2"});
}

Outcomes option_out_of_range() {
  return each_option(DIFFULEX_OPTION_INT, {"-1", "0", "1e300", "99999999999999999"}) +
         config_fails([](auto& c) { c.buffer_blocks = 33; }, "buffer_blocks") +
         config_fails([](auto& c) { c.max_requests = UINT32_MAX; }, "max_requests");
}

Outcomes batch_invariant_on_the_cpu() {
  const diffulex_kv option{"batch_invariant", "true"};
  return config_fails([&](auto& config) {
    config.devices = "cpu";
    config.engine_options = &option;
    config.engine_option_count = 1;
  });
}

Outcomes option_twice() {
  const diffulex_kv option{"page_size", "16"};
  return with_options({{"page_size", "8"}, {"page_size", "16"}}) + config_fails([&](auto& config) {
           config.page_size = 8;
           config.engine_options = &option;
           config.engine_option_count = 1;
         });
}

Outcomes null_options() {
  return with_options({{nullptr, "8"}}) + with_options({{"page_size", nullptr}}) +
         config_fails([](auto& c) { c.engine_option_count = 1; });
}

Outcomes null_strategy_options() {
  return with_strategy_options({{nullptr, "8"}}) +
         with_strategy_options({{"accept_threshold", nullptr}}) +
         config_fails([](auto& c) { c.strategy_option_count = 1; });
}

Outcomes unknown_strategy() {
  auto option = sized<diffulex_option_info>();
  return config_fails([](auto& c) { c.strategy = "greedy"; }) +
         config_fails([](auto& c) { c.strategy = ""; }) +
         Outcomes{attempt(
             "",
             [&](diffulex_error** e) { return diffulex_strategy_option("greedy", 0, &option, e); },
             option)};
}

Outcomes unknown_device() {
  Outcomes outcomes;
  for (const char* device : {"cuda:99", "cuda:GPU-0", "tpu", "cpu,cpu", "CPU"})
    outcomes = outcomes + config_fails([&](auto& c) { c.devices = device; }, device);
  return outcomes;
}

Outcomes missing_model_dir() {
  return config_fails([](auto& c) { c.model_dir = nullptr; }) +
         config_fails([](auto& c) { c.model_dir = ""; });
}

Outcomes batch_too_small() {
  return config_fails([](auto& c) {
    c.max_requests = 16;
    c.buffer_blocks = 4;
    c.max_batched_tokens = 511;  // 16 requests * 4 blocks * 8 tokens are 512
  });
}

Outcomes cache_below_length() {
  return config_fails([](auto& c) {
    c.max_model_len = 2048;
    c.kv_bytes = 1 << 20;
  });
}

Outcomes too_much_memory() {
  return {create_fails(model_dir(), "KV cache", [](auto& c) {
    c.devices = "cpu";
    c.kv_bytes = uint64_t{1} << 42;
    c.page_size = 4096;
  })};
}

// Once in every phase of a load.
Outcomes cancelled_load() {
  Outcomes outcomes;
  for (diffulex_load_phase phase :
       {DIFFULEX_LOAD_OPEN, DIFFULEX_LOAD_WEIGHTS, DIFFULEX_LOAD_CACHE, DIFFULEX_LOAD_WARMUP})
    outcomes.push_back(create_fails(model_dir(), "cancelled", [&](auto& config) {
      config.progress_user_data = &phase;
      config.progress = [](const diffulex_progress* progress, void* last) -> int32_t {
        return progress->phase == *static_cast<diffulex_load_phase*>(last) ? 1 : 0;
      };
    }));
  return outcomes;
}

}  // namespace

void add_config_cases(Cases* cases) {
  Cases& c = *cases;
  c["model-dir-unset"] = missing_model_dir;
  c["engine-flags"] = [] { return config_fails([](auto& config) { config.flags = 1; }); };
  c["run-mode"] = [] { return config_fails([](auto& config) { config.run_mode = 9; }); };
  c["weight-dtype"] = [] { return config_fails([](auto& config) { config.weight_dtype = 77; }); };
  c["batch-invariant-cpu"] = batch_invariant_on_the_cpu;
  c["kv-dtype"] = [] { return config_fails([](auto& config) { config.kv_dtype = 2; }); };
  c["device-unknown"] = unknown_device;
  c["option-unknown"] = [] { return with_options({{"page_sise", "8"}}); };
  c["option-mistyped"] = mistyped_option;
  c["option-range"] = option_out_of_range;
  c["option-twice"] = option_twice;
  c["options-null"] = null_options;
  c["page-size-multiple"] = [] {
    return config_fails([](auto& config) { config.page_size = 12; });
  };
  c["batch-too-small"] = batch_too_small;
  c["model-len-too-long"] = [] {
    return config_fails([](auto& config) { config.max_model_len = 4096; });
  };
  c["model-len-too-short"] = [] {
    return config_fails([](auto& config) { config.max_model_len = 1; });
  };
  c["event-mask"] = [] { return config_fails([](auto& config) { config.event_mask = 1u << 20; }); };
  c["log-level"] = [] {
    return config_fails([](auto& config) { config.log_level = 77; }) +
           config_fails([](auto& config) { config.log_level = -1; });
  };
  c["tokenizer-dir-empty"] = [] {
    return config_fails([](auto& config) { config.tokenizer_dir = ""; });
  };
  c["tokenizer-dir-missing"] = [] {
    return Outcomes{create_fails(model_dir(), "nowhere/tokenizer.json",
                                 [](auto& config) { config.tokenizer_dir = "/nowhere"; })};
  };
  c["strategy-requirement"] = [] {
    const diffulex_kv option{"prefix_caching", "true"};
    return config_fails([&](auto& config) {
      config.strategy = "d2f";
      config.engine_options = &option;
      config.engine_option_count = 1;
    });
  };
  c["cache-below-a-page"] = [] {
    return config_fails([](auto& config) { config.kv_bytes = 100; });
  };
  c["cache-below-length"] = cache_below_length;
  c["host-memory"] = too_much_memory;
  c["strategy-unknown"] = unknown_strategy;
  c["strategy-option-unknown"] = [] { return with_strategy_options({{"no_such", "1"}}); };
  c["strategy-option-mistyped"] = [] {
    return with_strategy_options({{"accept_threshold", "hi"}});
  };
  c["strategy-option-range"] = [] { return with_strategy_options({{"accept_threshold", "1.5"}}); };
  c["strategy-option-twice"] = [] {
    return with_strategy_options({{"accept_threshold", "0.5"}, {"accept_threshold", "0.6"}});
  };
  c["strategy-options-null"] = null_strategy_options;
  c["load-cancelled"] = cancelled_load;
}

}  // namespace diffulex_tests::errors
