// An engine's step without its threads and records: schedule, plan, execute, settle.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "engine/model_runner.h"
#include "engine/scheduler.h"
#include "strategy/strategy.h"
#include "timed_backend.h"

namespace diffulex_bench {

// What a step had to compute.
struct StepWork {
  int rows = 0, head_rows = 0;
  int64_t keys = 0;     // seen by its rows, summed over them
  int64_t context = 0;  // cached positions that its requests read, summed over them
  int revealed = 0;     // masks it filled
};

struct DrivenStep {
  StepWork work;
  double host_ms = 0;     // the whole step by the host's clock
  double execute_ms = 0;  // of it inside the backend
};

// Thread class: one owner. The backend must be idle and outlive the driver; its resident rows begin
// anew with each driver.
class StepDriver {
 public:
  StepDriver(diffulex::Backend& backend, const diffulex::ArchSpec& arch,
             const diffulex::EngineShape& shape);  // shape.device_steps: as an engine has it
  // Waits for a step that was asked for: the device is idle then, and its records are complete.
  ~StepDriver();
  StepDriver(const StepDriver&) = delete;
  StepDriver& operator=(const StepDriver&) = delete;

  void add(int prompt_tokens);
  // work.rows 0: nothing was left to do.
  DrivenStep step();

 private:
  bool drive(StepWork& work);

  const diffulex::ArchSpec& arch_;
  const diffulex::EngineShape shape_;
  const diffulex::Strategy& strategy_;
  TimedBackend backend_;
  std::unique_ptr<diffulex::KvCacheManager> cache_;
  std::unique_ptr<diffulex::Scheduler> scheduler_;
  std::unique_ptr<diffulex::ModelRunner> runner_;
  std::vector<std::unique_ptr<diffulex::Request>> finished_;
  const diffulex::Schedule* schedule_ = nullptr;
  int ahead_ = 0;  // steps that follow the last one without another plan
  uint64_t steps_ = 0, last_id_ = 0;
};

}  // namespace diffulex_bench
