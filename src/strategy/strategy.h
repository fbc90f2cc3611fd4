// A decoding strategy: the parts that the engine is put together from, registered under one name. A
// strategy inherits from a template (src/strategy/templates) what it does not change.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "backend/backend.h"
#include "base/options.h"
#include "cache/kv_cache_manager.h"
#include "engine/model_runner.h"
#include "engine/request.h"
#include "engine/scheduler.h"
#include "model/arch.h"
#include "sampler/sampler.h"

namespace diffulex {

// The sizes an engine runs with, resolved from configuration, checkpoint and defaults.
struct EngineShape {
  int32_t block_size = 0;  // tokens
  int32_t buffer_blocks = 0;
  int32_t page_size = 0;  // tokens
  int32_t kv_pages = 0;
  int32_t max_requests = 0;
  int32_t max_batched_tokens = 0;
  int32_t max_model_len = 0;  // tokens
  int32_t max_queue = 0;
  int32_t device_steps = 1;
  bool prefix_caching = true;
};

// An engine option that a strategy runs with in one way only. Whoever asks for another value is
// refused; who asks for none gets this one and is told.
struct Requirement {
  const char* option;
  const char* value;
  const char* reason;
};

struct Strategy {
  std::string_view name;
  std::string_view summary;
  std::span<const OptionSpec> options;  // engine-wide defaults that a request may override

  std::span<const Requirement> requirements;

  // Checks that the shape and the model suit the strategy. Changes nothing: a contradiction is an
  // Error that names the key.
  void (*validate)(const ArchSpec& arch, const EngineShape& shape);
  // Checks what the strategy asks of a request; null: nothing. Throws Error.
  void (*check_request)(const EngineShape& shape, const RequestSpec& spec);
  // What a request decides with, from its options.
  decide::MultiBlockParams (*decision)(const ArchSpec& arch, const SamplerRule& sampler,
                                       const EngineShape& shape, const OptionValues& options);
  std::unique_ptr<Request> (*make_request)(uint64_t id, RequestSpec spec,
                                           std::shared_ptr<RequestRecord> record);
  std::unique_ptr<KvCacheManager> (*make_cache_manager)(const EngineShape& shape);
  std::unique_ptr<Scheduler> (*make_scheduler)(const EngineShape& shape, KvCacheManager& cache);
  std::unique_ptr<ModelRunner> (*make_runner)(Backend& backend);
  // Which keys the rows of a request see.
  decide::AttentionRule (*attention)(const Request& request);
};

std::span<const Strategy* const> strategies();
// Throws Error(DIFFULEX_E_STRATEGY_UNSUPPORTED) naming the known ones.
const Strategy& find_strategy(std::string_view name);

}  // namespace diffulex
