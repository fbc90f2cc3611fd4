// What Engine::step() does with a schedule, and with the steps that the backend runs behind it, for
// harnesses that put the engine's parts together by themselves.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "engine/model_runner.h"
#include "engine/scheduler.h"

namespace diffulex::testing {

struct StepHooks {
  std::function<void(const Schedule&)> on_schedule, on_result;  // before and after each forward
  std::function<bool()> go_on;  // false: no more steps are asked for
  std::function<bool()> fails;  // true: the step that was asked for does not happen
};

// Runs a schedule that is not empty; returns how many steps that were.
inline uint64_t run_steps(Scheduler& scheduler, ModelRunner& runner, const Schedule& schedule,
                          uint64_t first_step, int device_steps,
                          std::vector<std::unique_ptr<Request>>& finished, const StepHooks& hooks) {
  uint64_t steps = 0;
  int ahead = scheduler.reserve_ahead(device_steps - 1);
  bool asked = ahead > 0, ended = false;
  const auto settle = [&] {
    ++steps;
    if (hooks.on_result) hooks.on_result(schedule);
    const size_t before = finished.size();
    scheduler.settle(finished);
    ended = finished.size() != before;
    if (!asked) scheduler.return_spare_pages();
  };
  if (hooks.on_schedule) hooks.on_schedule(schedule);
  runner.run(first_step, schedule, ahead);
  settle();
  while (asked) {
    if (!scheduler.follow()) {
      runner.drain();
      break;
    }
    if (hooks.fails && hooks.fails()) {
      scheduler.undo();
      break;
    }
    if (hooks.on_schedule) hooks.on_schedule(schedule);
    asked = --ahead > 0 && !ended && (!hooks.go_on || hooks.go_on());
    runner.next(schedule, asked);
    settle();
  }
  return steps;
}

}  // namespace diffulex::testing
