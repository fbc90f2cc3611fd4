// Copies what a step changed to where other threads read it, and tells the event queue.
#pragma once

#include <cstdint>
#include <mutex>
#include <span>

#include "diffulex.h"
#include "engine/event_queue.h"
#include "engine/request.h"
#include "engine/request_record.h"
#include "engine/scheduler.h"

namespace diffulex {

// publish_* and count_*: the owner thread. stats(): any thread.
class Publisher {
 public:
  explicit Publisher(EventQueue& events) : events_(events) {}

  // A request's record before its first step, with room for everything it may ever publish.
  static void prepare(RequestRecord& record, const RequestSpec& spec);

  void publish_admitted(const Request& request, uint64_t step);
  void publish_preempted(const Request& request, uint64_t step);
  // picks: of the request's head rows in this step, in position order (before: its window before
  // the step).
  void publish_step(const Request& request, const decide::Window& before,
                    std::span<const decide::Pick> picks, uint64_t step);
  // What is final since `before` although no step ran.
  void publish_cut(const Request& request, const decide::Window& before, uint64_t step);
  void publish_finished(const Request& request, diffulex_finish finish, diffulex_status status,
                        uint64_t step);
  void publish_engine(const Scheduler& scheduler, const KvCacheManager& cache,
                      const diffulex_step_stats& step);

  diffulex_engine_stats stats() const;

 private:
  void tell(const Request& request, diffulex_event_type kinds, uint32_t delta, uint64_t step);

  EventQueue& events_;
  mutable std::mutex mutex_;  // guards stats_
  diffulex_engine_stats stats_{};
};

}  // namespace diffulex
