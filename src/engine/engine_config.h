// What the caller asked for, with every default filled in and every contradiction reported.
#pragma once

#include <memory>
#include <string>

#include "backend/devices.h"
#include "diffulex.h"
#include "model/model_config.h"
#include "strategy/strategy.h"

namespace diffulex {

std::span<const OptionSpec> engine_options();  // the table behind diffulex_engine_option

struct EngineConfig {
  std::string model_dir;
  std::string tokenizer_dir;
  std::shared_ptr<const ModelConfig> model;  // of model_dir, until it is loaded
  ArchSpec arch;
  const Strategy* strategy = nullptr;
  OptionValues strategy_options;
  EngineShape shape;
  BackendConfig backend;
  const Device* device = nullptr;
  MakeBackend make_backend = nullptr;
  int64_t asked_length = 0;      // max_model_len before the cache limited it
  MemoryPlan memory;             // bytes it will take; of a live engine, bytes it took
  uint64_t available_bytes = 0;  // free now
  diffulex_run_mode run_mode = DIFFULEX_RUN_MANUAL;
  uint32_t event_mask = 0;
  uint32_t step_log_capacity = 0;
  std::vector<std::string> notes;  // values that the strategy brought, one sentence each
};

// Reads metadata only. Throws Error.
EngineConfig resolve(const diffulex_engine_config& config);

}  // namespace diffulex
