// An engine over tiny-sdar whose steps a test can watch, and make fail.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "api/request_params.h"
#include "base/error.h"
#include "engine/engine.h"

namespace diffulex::testing {

// Called around each step of the CPU backend behind it; may throw.
struct Fault {
  std::function<void(uint64_t step)> before, after;
};
inline Fault* g_fault = nullptr;  // of the engine that is being made

class FaultyBackend : public Backend {
 public:
  explicit FaultyBackend(std::unique_ptr<Backend> real, Fault* fault)
      : real_(std::move(real)), fault_(fault) {}
  StepResult begin(const wire::StepPlan& plan, int ahead) override {
    step_ = plan.step();
    return guarded([&] { return real_->begin(plan, ahead); });
  }
  StepResult next(bool more) override {
    ++step_;
    return guarded([&] { return real_->next(more); });
  }
  MemoryPlan memory() const override { return real_->memory(); }
  int64_t kv_pages() const override { return real_->kv_pages(); }
  std::string kernels() const override { return real_->kernels(); }

 private:
  template <class Run>
  StepResult guarded(const Run& run) {
    if (fault_->before) fault_->before(step_);
    const StepResult result = run();
    if (fault_->after) fault_->after(step_);
    return result;
  }

  std::unique_ptr<Backend> real_;
  Fault* fault_;
  uint64_t step_ = 0;
};

inline std::unique_ptr<Backend> make_faulty(const ArchSpec& arch, const ModelWeights& weights,
                                            const BackendConfig& config,
                                            const LoadProgress& progress) {
  return std::make_unique<FaultyBackend>(cpu::create(arch, weights, config, progress), g_fault);
}

inline std::unique_ptr<Engine> make_engine(Fault* fault, const char* strategy = "multi_bd",
                                           diffulex_run_mode mode = DIFFULEX_RUN_MANUAL,
                                           int device_steps = 1) {
  static const std::string dir = std::string(DIFFULEX_MODELS_DIR) + "/tiny-sdar";
  diffulex_engine_config config;
  diffulex_engine_config_init(&config, sizeof(config));
  config.model_dir = dir.c_str();
  config.strategy = strategy;
  config.max_model_len = 128;
  config.buffer_blocks = 2;
  config.cpu_threads = 1;
  config.run_mode = mode;
  config.event_mask = ~0u;
  const std::string steps = std::to_string(device_steps);
  const diffulex_kv option{"device_steps", steps.c_str()};
  config.engine_options = &option;
  config.engine_option_count = 1;
  EngineConfig resolved = resolve(config);
  resolved.make_backend = make_faulty;
  g_fault = fault;
  return std::make_unique<Engine>(std::move(resolved), Log(), nullptr);
}

using Tune = std::function<void(diffulex_request_params&)>;

inline uint64_t submit(Engine& engine, int32_t first, uint32_t max_tokens = 20,
                       const Tune& tune = nullptr) {
  std::vector<int32_t> prompt;
  for (int32_t i = 0; i < 13 + first % 5; ++i) prompt.push_back(first + i);
  diffulex_request_params params;
  diffulex_request_params_init(&params, sizeof(params));
  params.max_tokens = max_tokens;
  params.flags = DIFFULEX_REQUEST_IGNORE_EOS;
  params.temperature = 0.8f;
  params.seed = static_cast<uint64_t>(first);
  if (tune) tune(params);
  return engine.submit(api::make_spec(engine.config(), prompt, &params));
}

struct EngineOutcome {
  diffulex_finish finish;
  diffulex_status status;
  std::vector<int32_t> output;
  uint32_t steps;
  bool operator==(const EngineOutcome&) const = default;
};

inline EngineOutcome outcome(const Engine& engine, uint64_t id) {
  const auto record = engine.find(id);
  const std::lock_guard lock(record->mutex);
  return {record->info.finish, record->info.status, record->output, record->info.steps};
}

// Steps until nothing is left; how many steps failed with `status`.
inline int run(Engine& engine, diffulex_status status = DIFFULEX_OK) {
  int failed = 0;
  for (int guard = 0; guard < 1000; ++guard) {
    try {
      if (!engine.step()) return failed;
    } catch (const std::bad_alloc&) {
      EXPECT_EQ(status, DIFFULEX_E_HOST_MEMORY);
      ++failed;
    } catch (const Error& error) {
      EXPECT_EQ(error.status(), status);
      ++failed;
    }
  }
  ADD_FAILURE() << "no end";
  return failed;
}

}  // namespace diffulex::testing
