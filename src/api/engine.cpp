// Engines: plan, create, step, wait, observe.
#include <algorithm>
#include <cmath>
#include <optional>

#include "api/guard.h"
#include "api/handles.h"
#include "base/system.h"
#include "engine/model_files.h"
#include "model/family.h"

using diffulex::EngineConfig;
using diffulex::Error;
using diffulex::Log;
namespace api = diffulex::api;

namespace {

diffulex::Engine& engine_of(const diffulex_engine* engine) {
  return *api::required(engine, "engine").engine;
}

diffulex_dtype dtype_of(diffulex::DType dtype) {
  if (dtype == diffulex::DType::kI8) return DIFFULEX_DTYPE_I8;
  return dtype == diffulex::DType::kF32 ? DIFFULEX_DTYPE_F32 : DIFFULEX_DTYPE_BF16;
}

// Outlives the config, whose own copy does not.
const char* static_name(const std::string& family) {
  for (const diffulex::Family& known : diffulex::families())
    if (known.name == family) return known.name.data();
  return "";
}

diffulex_plan plan_of(const EngineConfig& config) {
  diffulex_plan plan{};
  plan.kv_pages = static_cast<uint32_t>(config.shape.kv_pages);
  plan.weight_bytes = config.memory.weights;
  plan.kv_bytes = config.memory.kv;
  plan.workspace_bytes = config.memory.workspace;
  plan.total_bytes = plan.weight_bytes + plan.kv_bytes + plan.workspace_bytes;
  plan.available_bytes = config.available_bytes;
  plan.shortfall_bytes =
      plan.total_bytes > plan.available_bytes ? plan.total_bytes - plan.available_bytes : 0;
  plan.max_model_len = static_cast<uint32_t>(config.shape.max_model_len);
  plan.max_cached_tokens = plan.kv_pages * static_cast<uint32_t>(config.shape.page_size);
  plan.block_size = static_cast<uint32_t>(config.shape.block_size);
  plan.buffer_blocks = static_cast<uint32_t>(config.shape.buffer_blocks);
  plan.family = static_name(config.arch.family);
  plan.strategy = config.strategy->name.data();
  return plan;
}

// What requests that set no thresholds decode with.
void tell_decoding(const EngineConfig& config, diffulex_engine_info& info) {
  const diffulex::Decoding& family = config.arch.decoding;
  const auto threshold = [&](const char* key, double of_family) {
    const double value = config.strategy_options.number(key);
    return static_cast<float>(std::isnan(value) ? of_family : value);
  };
  info.accept_threshold = threshold("accept_threshold", family.accept_threshold);
  info.add_block_threshold = threshold("add_block_threshold", family.add_block_threshold);
  info.semi_complete_threshold =
      threshold("semi_complete_threshold", family.semi_complete_threshold);
  info.token_stability_threshold =
      threshold("token_stability_threshold", family.token_stability_threshold);
  info.shifted = family.shift ? 1 : 0;
}

diffulex_engine_info info_of(const diffulex_engine& handle) {
  const EngineConfig& config = handle.engine->config();
  diffulex_engine_info info{};
  info.vocab_size = config.arch.token_count;
  info.eos_token = config.arch.eos_tokens.empty() ? -1 : config.arch.eos_tokens.front();
  info.mask_token = config.arch.mask_token;
  info.block_size = static_cast<uint32_t>(config.shape.block_size);
  info.buffer_blocks = static_cast<uint32_t>(config.shape.buffer_blocks);
  info.page_size = static_cast<uint32_t>(config.shape.page_size);
  info.max_model_len = static_cast<uint32_t>(config.shape.max_model_len);
  info.max_requests = static_cast<uint32_t>(config.shape.max_requests);
  info.max_batched_tokens = static_cast<uint32_t>(config.shape.max_batched_tokens);
  info.kv_pages = static_cast<uint32_t>(config.shape.kv_pages);
  info.cpu_threads = static_cast<uint32_t>(config.backend.threads);
  info.weight_dtype = dtype_of(config.backend.weight_dtype);
  info.kv_dtype = dtype_of(config.backend.kv_dtype);
  info.prefix_caching = config.shape.prefix_caching ? 1 : 0;
  info.weight_bytes = config.memory.weights;
  info.kv_bytes = config.memory.kv;
  info.architecture = config.arch.architecture.c_str();
  info.family = config.arch.family.c_str();
  info.strategy = config.strategy->name.data();
  info.device = config.device->selector.c_str();
  info.kernels = handle.kernels.c_str();
  info.bos_token = config.arch.bos_token;
  info.pad_token = config.arch.pad_token;
  tell_decoding(config, info);
  return info;
}

// resolve() reads metadata alone. Where that is broken the other files are looked at too, so that
// one error tells everything.
EngineConfig resolve_for_load(const diffulex_engine_config& config) {
  diffulex::ProblemList problems;
  std::optional<EngineConfig> resolved;
  if (!problems.attempt([&] { resolved = diffulex::resolve(config); })) {
    const std::string model_dir = config.model_dir;
    diffulex::open_model_files(model_dir,
                               config.tokenizer_dir != nullptr ? config.tokenizer_dir : model_dir,
                               nullptr, &problems);
  }
  return std::move(*resolved);
}

}  // namespace

extern "C" {

void diffulex_engine_config_init(diffulex_engine_config* config, size_t struct_size) {
  if (config == nullptr || struct_size < 2 * sizeof(uint32_t)) return;
  std::memset(config, 0, struct_size);
  config->struct_size = static_cast<uint32_t>(struct_size);
}

diffulex_status diffulex_engine_plan(const diffulex_engine_config* config, diffulex_plan* out,
                                     diffulex_error** error) {
  return api::guard(error, [&] {
    api::write_struct(out, plan_of(diffulex::resolve(api::read_struct(config, "config"))), "out");
    return DIFFULEX_OK;
  });
}

diffulex_status diffulex_engine_create(const diffulex_engine_config* config, diffulex_engine** out,
                                       diffulex_error** error) {
  return api::guard(error, [&] {
    api::required(out, "out");
    const diffulex_engine_config full = api::read_struct(config, "config");
    const diffulex::ProgressFn progress =
        full.progress == nullptr ? diffulex::ProgressFn() : [&full](const diffulex_progress& p) {
          return full.progress(&p, full.progress_user_data) == 0;
        };
    auto handle = std::make_unique<diffulex_engine>();
    handle->engine = std::make_unique<diffulex::Engine>(
        resolve_for_load(full), Log(full.log, full.log_user_data, full.log_level), progress);
    handle->kernels = handle->engine->kernels();
    if (handle->engine->tokenizer() != nullptr) {
      handle->tokenizer = new diffulex_tokenizer;
      handle->tokenizer->tokenizer = handle->engine->tokenizer();
    }
    *out = handle.release();
    return DIFFULEX_OK;
  });
}

void diffulex_engine_destroy(diffulex_engine* engine) { delete engine; }

diffulex_status diffulex_engine_get_info(const diffulex_engine* engine, diffulex_engine_info* out,
                                         diffulex_error** error) {
  return api::guard(error, [&] {
    api::write_struct(out, info_of(api::required(engine, "engine")), "out");
    return DIFFULEX_OK;
  });
}

const diffulex_tokenizer* diffulex_engine_tokenizer(const diffulex_engine* engine) {
  return engine != nullptr ? engine->tokenizer : nullptr;
}

diffulex_status diffulex_engine_step(diffulex_engine* engine, diffulex_error** error) {
  return api::guard(error, [&] {
    diffulex::Engine& e = engine_of(engine);
    if (e.config().run_mode != DIFFULEX_RUN_MANUAL)
      throw Error(DIFFULEX_E_INVALID_STATE,
                  "the engine was created with run_mode THREAD and steps itself");
    return e.step() ? DIFFULEX_OK : DIFFULEX_S_IDLE;
  });
}

diffulex_status diffulex_engine_start(diffulex_engine* engine, diffulex_error** error) {
  return api::guard(error, [&] {
    engine_of(engine).start();
    return DIFFULEX_OK;
  });
}

diffulex_status diffulex_engine_stop(diffulex_engine* engine, int32_t drain,
                                     diffulex_error** error) {
  return api::guard(error, [&] {
    engine_of(engine).stop(drain != 0);
    return DIFFULEX_OK;
  });
}

diffulex_status diffulex_engine_wait(diffulex_engine* engine, diffulex_event* events, size_t stride,
                                     size_t capacity, size_t* out_count, int64_t timeout_ms,
                                     diffulex_error** error) {
  return api::guard(error, [&] {
    diffulex::Engine& e = engine_of(engine);
    size_t& count = api::required(out_count, "out_count");
    if (capacity == 0)
      throw Error(DIFFULEX_E_INVALID_ARGUMENT, "capacity is 0").with("option", "capacity");
    if (timeout_ms < -1)
      throw Error(DIFFULEX_E_INVALID_ARGUMENT, "timeout_ms is less than -1")
          .with("option", "timeout_ms");
    api::check_array(events, stride, capacity, "events");
    count = 0;
    count = e.events().wait(capacity, timeout_ms, [&](size_t index, const diffulex_event& event) {
      api::write_element(events, stride, index, event);
    });
    return count > 0 ? DIFFULEX_OK : DIFFULEX_S_TIMEOUT;
  });
}

void diffulex_engine_interrupt(diffulex_engine* engine) {
  if (engine != nullptr) engine->engine->events().interrupt();
}

diffulex_status diffulex_engine_get_stats(const diffulex_engine* engine, diffulex_engine_stats* out,
                                          diffulex_error** error) {
  return api::guard(error, [&] {
    api::write_struct(out, engine_of(engine).stats(), "out");
    return DIFFULEX_OK;
  });
}

diffulex_status diffulex_engine_read_steps(const diffulex_engine* engine, uint64_t first_step,
                                           diffulex_step_stats* out, size_t stride, size_t capacity,
                                           size_t* out_count, diffulex_error** error) {
  return api::guard(error, [&] {
    diffulex::Engine& e = engine_of(engine);
    size_t& count = api::required(out_count, "out_count");
    api::check_array(out, stride, capacity, "out");
    count = e.step_log().read(first_step, capacity,
                              [&](size_t index, const diffulex_step_stats& stats) {
                                api::write_element(out, stride, index, stats);
                              });
    return DIFFULEX_OK;
  });
}

}  // extern "C"
