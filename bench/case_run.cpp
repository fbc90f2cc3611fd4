#include "case_run.h"

#include <chrono>
#include <memory>

#include "cuda/cuda_backend.h"
#include "numbers.h"

namespace diffulex_bench {
namespace {

using namespace diffulex;

constexpr int kLeftOut = 20;     // full-window steps in front of those that count
constexpr int kPatience = 4000;  // steps in which the windows must have been full so often

// A backend of its own for every case, sized as an engine of this case would size it: results are
// copied at the size of the configuration, whatever the step.
class LoadedCase {
 public:
  LoadedCase(const EngineCase& c, const EngineSettings& engine, std::span<const uint16_t> numbers)
      : case_(c), shape_(engine_shape(c, kPromptTokens, 0)), model_(*c.model, numbers) {
    shape_.device_steps = engine.device_steps;
    BackendConfig config = backend_config(shape_);
    config.batch_invariant = engine.batch_invariant;
    const auto start = std::chrono::steady_clock::now();
    backend_ = cuda::create(model_.arch, model_.weights, config, nullptr);
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
    load_s_ = taken.count();
  }
  double load_s() const { return load_s_; }

  // Runs the case until `count` full-window steps have been seen behind those left out. Before each
  // step that counts and its neighbours it calls before(), after it visit(step).
  template <class Before, class Visit>
  void run(int device_steps, int count, Before&& before, Visit&& visit) {
    EngineShape shape = shape_;
    shape.device_steps = device_steps;
    StepDriver driver(*backend_, model_.arch, shape);
    for (int i = 0; i < case_.requests; ++i) driver.add(kPromptTokens);
    int full = 0;
    for (int i = 0; i < kPatience && full < kLeftOut + count; ++i) {
      const bool counts = full >= kLeftOut;
      if (counts) before();
      const DrivenStep step = driver.step();
      if (step.work.rows == 0) return;
      if (step.work.rows == case_.full_rows()) ++full;
      if (counts) visit(step);
    }
  }
  // The same steps without a clock: every shape that will come has come twice and is recorded.
  void rehearse(int count) {
    for (const int steps : {1, shape_.device_steps})
      run(
          steps, count, [] {}, [](const DrivenStep&) {});
  }
  int device_steps() const { return shape_.device_steps; }

 private:
  const EngineCase case_;
  EngineShape shape_;
  const RandomModel model_;
  std::unique_ptr<Backend> backend_;
  double load_s_ = 0;
};

// Sums that become means.
void add(CaseTimes& times, const Floor& floor, const StepWork& work) {
  ++times.steps;
  times.head_rows += work.head_rows;
  times.floor.bytes_ms += floor.bytes_ms;
  times.floor.operations_ms += floor.operations_ms;
}

void divide(CaseTimes& times) {
  times.head_rows /= times.steps;
  times.floor.bytes_ms /= times.steps;
  times.floor.operations_ms /= times.steps;
}

}  // namespace

CaseTimes time_case(const EngineCase& c, const EngineSettings& engine,
                    std::span<const uint16_t> numbers, const DeviceLimits& limits, int steps) {
  LoadedCase loaded(c, engine, numbers);
  loaded.rehearse(steps);
  CaseTimes times;
  std::vector<double> all, host;
  loaded.run(
      loaded.device_steps(), steps, [] {},
      [&](const DrivenStep& step) {
        if (step.work.rows != c.full_rows()) return;
        add(times, floor_of(*c.model, step.work, limits), step.work);
        all.push_back(step.host_ms);
        host.push_back((step.host_ms - step.execute_ms) * 1e3);
      });
  if (times.steps > 0) divide(times);
  times.load_s = loaded.load_s();
  times.ms = median(all);
  times.p90_ms = percentile(all, 0.9);
  times.host_us = median(host);
  return times;
}

TraceSummary trace_case(const EngineCase& c, const EngineSettings& engine,
                        std::span<const uint16_t> numbers, CuptiTrace& trace, int steps) {
  LoadedCase loaded(c, engine, numbers);
  loaded.rehearse(steps);
  const auto traced = [&](int device_steps, int count) {
    (void)trace.take();
    std::vector<uint64_t> begins;
    loaded.run(
        device_steps, count, [&] { begins.push_back(trace.now()); }, [](const DrivenStep&) {});
    return summarize(trace.take(), begins);
  };
  TraceSummary summary = traced(1, steps);
  summary.idle_share = traced(loaded.device_steps(), 3 * loaded.device_steps()).idle_share;
  return summary;
}

}  // namespace diffulex_bench
