// The engine's parts without threads, text or a model: scheduler, cache and runner over a scripted
// backend.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "device_steps.h"
#include "engine/request_record.h"
#include "scripted_backend.h"
#include "strategy/strategy.h"
#include "strategy/templates/multi_block/multi_block.h"

namespace diffulex::testing {

inline constexpr int32_t kMask = 999;
inline constexpr int32_t kEosToken = 998;

inline EngineShape small_shape(int b, int buffer, int ps, int pages, int max_requests = 4) {
  EngineShape shape;
  shape.block_size = b;
  shape.buffer_blocks = buffer;
  shape.page_size = ps;
  shape.kv_pages = pages;
  shape.max_requests = max_requests;
  shape.max_batched_tokens = std::max(64, max_requests * b * buffer);
  shape.max_model_len = 64;
  shape.max_queue = 100;
  return shape;
}

inline RequestSpec make_spec(const EngineShape& shape, std::vector<int32_t> prompt, int max_tokens,
                             std::string_view strategy_name = "multi_bd",
                             std::string_view family = "sdar") {
  ArchSpec arch;
  arch.mask_token = kMask;
  arch.decoding.accept_threshold = 0.9f;
  const Strategy& strategy = find_strategy(strategy_name);
  RequestSpec spec;
  spec.blocks = strategy.decision(arch, sampler_for(family), shape, OptionValues(strategy.options));
  spec.blocks.stop_tokens[0] = kEosToken;
  spec.blocks.stop_count = spec.blocks.eos_count = 1;
  spec.limit = std::min(static_cast<int32_t>(prompt.size()) + max_tokens, shape.max_model_len);
  spec.limit_reason = static_cast<int32_t>(prompt.size()) + max_tokens <= shape.max_model_len
                          ? decide::kMaxTokens
                          : decide::kContext;
  spec.prompt = std::move(prompt);
  return spec;
}

struct StepHarness {
  StepHarness(const EngineShape& shape_, ScriptedBackend::Script script,
              std::string_view strategy_name = "multi_bd")
      : shape(shape_),
        strategy(find_strategy(strategy_name)),
        backend(shape.page_size, shape.max_requests, std::move(script), strategy_name == "d2f"),
        cache(strategy.make_cache_manager(shape)),
        scheduler(strategy.make_scheduler(shape, *cache)),
        runner(strategy.make_runner(backend)) {}

  Request* add(RequestSpec spec) {
    auto request =
        strategy.make_request(++last_id, std::move(spec), std::make_shared<RequestRecord>());
    request->attention = strategy.attention(*request);
    Request* raw = request.get();
    scheduler->add(std::move(request));
    return raw;
  }

  // One schedule, and as many steps as the shape lets a device run. False when nothing could run.
  // Finished requests stay readable in `finished`.
  bool step() {
    const Schedule& schedule = scheduler->schedule();
    preemptions += schedule.preempted.size();
    if (schedule.rows.empty()) return !schedule.preempted.empty();
    steps += run_steps(*scheduler, *runner, schedule, steps, shape.device_steps, finished, hooks);
    return true;
  }

  EngineShape shape;
  const Strategy& strategy;
  ScriptedBackend backend;
  std::unique_ptr<KvCacheManager> cache;
  std::unique_ptr<Scheduler> scheduler;
  std::unique_ptr<ModelRunner> runner;
  std::vector<std::unique_ptr<Request>> finished;
  StepHooks hooks;
  uint64_t steps = 0, last_id = 0, preemptions = 0;
};

// Output tokens that are final.
inline std::vector<int32_t> output_of(const Request& request) {
  const auto tokens = request.tokens();
  return {tokens.begin() + request.window.prompt_len,
          tokens.begin() + request.window.committed_end};
}

}  // namespace diffulex::testing
