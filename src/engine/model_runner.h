// Turns a schedule into a step plan, has the backend execute it and hands the results to the
// requests.
#pragma once

#include <flatbuffers/flatbuffers.h>

#include <cstdint>

#include "backend/backend.h"
#include "engine/scheduler.h"

namespace diffulex {

// Not thread-safe: the engine's owner thread only.
class ModelRunner {
 public:
  explicit ModelRunner(Backend& backend);
  virtual ~ModelRunner() = default;
  ModelRunner(const ModelRunner&) = delete;
  ModelRunner& operator=(const ModelRunner&) = delete;

  // One forward for the schedule's rows. ahead: how many may follow it without another plan; with
  // any, the first of them is asked for. The result is valid until the next call.
  StepResult run(uint64_t step, const Schedule& schedule, int ahead = 0);
  // The result of the forward that was asked for, for what Scheduler::follow made of the schedule.
  // more: another one is asked for.
  StepResult next(const Schedule& schedule, bool more);
  // The same when no request waits for it any more.
  void drain();
  // Whether up to `most` forwards should follow the schedule's: the backend computes no padding for
  // them in vain.
  bool worth_following(const Schedule& schedule, int most) const;

 protected:
  // Fills the row of one request; a strategy whose kernels read other facts overrides this.
  virtual void describe(const ScheduledRequest& scheduled, RequestRow& row) const;

 private:
  const wire::StepPlan& build(uint64_t step, const Schedule& schedule);
  static void apply(const Schedule& schedule, const StepResult& result);

  Backend& backend_;
  flatbuffers::FlatBufferBuilder builder_;  // keeps its memory from step to step
};

}  // namespace diffulex
