// An engine: the owner thread's loop (commands, schedule, forward, publish) and what other threads
// may ask of it.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "backend/backend.h"
#include "base/log.h"
#include "engine/engine_config.h"
#include "engine/event_queue.h"
#include "engine/publisher.h"
#include "engine/request_record.h"
#include "engine/request_table.h"
#include "engine/step_log.h"
#include "text/tokenizer.h"

namespace diffulex {

using ProgressFn = std::function<bool(const diffulex_progress&)>;  // false: cancel the load

// One owner thread runs step(): the caller's in manual mode, the engine's own in thread mode.
// Everything marked "any thread" takes locks that are held for copies only and never during a
// forward.
class Engine {
 public:
  Engine(EngineConfig config, Log log, const ProgressFn& progress);
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  const EngineConfig& config() const { return config_; }  // immutable
  const std::string& kernels() const { return kernels_; }
  const std::shared_ptr<const text::Tokenizer>& tokenizer() const {
    return tokenizer_;
  }  // null: the model has none
  const Log& log() const { return log_; }

  // Owner thread. One step, and those that the device runs behind it without a new schedule; false
  // when no request could run.
  bool step();
  void start();
  void stop(bool drain);

  // Any thread.
  uint64_t submit(RequestSpec spec);
  void abort(const std::shared_ptr<RequestRecord>& record);  // takes no memory
  void release(uint64_t id);
  std::shared_ptr<RequestRecord> find(uint64_t id) const { return table_.find(id); }
  EventQueue& events() { return events_; }
  diffulex_engine_stats stats() const { return publisher_.stats(); }
  const StepLog& step_log() const { return step_log_; }
  // Runs use(KvCacheManager&) while the owner does not change the cache. Pins and clears count in
  // the next step.
  template <class Use>
  auto with_cache(Use&& use) {
    const std::lock_guard lock(cache_mutex_);
    return std::forward<Use>(use)(*cache_);
  }

 private:
  class StepGuard;

  void load(const ProgressFn& progress);
  void settle_head(const ArchSpec& opened);
  void take_sizes();
  void take_commands();
  void end_late_requests();
  void end_stuck_request();
  void end_request(std::unique_ptr<Request> request, diffulex_finish finish,
                   diffulex_status status);
  void end_request(std::unique_ptr<Request> request);
  // What `remove` takes out of the scheduler, under the cache's mutex: its pages go back.
  template <class Remove>
  std::unique_ptr<Request> take(Remove&& remove) {
    const std::lock_guard lock(cache_mutex_);
    return std::forward<Remove>(remove)();
  }
  const Schedule& make_schedule();
  bool run_step();
  int steps_ahead(const Schedule& schedule);
  void follow_steps(const Schedule& schedule, int ahead);
  void finish_step(const Schedule& schedule, const StepResult& result, bool asked,
                   diffulex_step_stats& stats);
  bool may_go_on();
  void note_schedule(const Schedule& schedule, diffulex_step_stats& stats);
  void publish(const Schedule& schedule, const StepResult& result, diffulex_step_stats& stats);
  void settle(bool asked);
  void publish_engine(diffulex_step_stats& stats);
  void look_for_stop_strings(Request& request) noexcept;
  void fail_step(diffulex_status status, const char* message) noexcept;
  void fail(diffulex_status status, const char* message) noexcept;
  void end_all(diffulex_finish finish, diffulex_status status) noexcept;
  void say(diffulex_log_level level, const char* message, uint64_t request = 0) const noexcept;
  void throw_if_faulted() const;
  void give_way(diffulex_status status);
  bool step_or_recover();
  void thread_loop();
  void abort_all();

  EngineConfig config_;  // immutable once loaded
  const Log log_;
  std::shared_ptr<const text::Tokenizer> tokenizer_;
  std::string kernels_;

  // Owner thread only.
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Scheduler> scheduler_;
  std::unique_ptr<ModelRunner> runner_;
  std::vector<std::unique_ptr<Request>> taken_;
  std::vector<std::unique_ptr<Request>> finished_;
  std::vector<decide::Window> windows_before_;  // [rows of the schedule]
  uint64_t step_number_ = 0;
  int failures_in_a_row_ = 0;  // steps of the engine's own thread that ran out of memory

  // Guards the cache and what the scheduler does with it. The owner holds it while it schedules,
  // settles and removes requests, never during a forward.
  std::mutex cache_mutex_;
  std::unique_ptr<KvCacheManager> cache_;

  // Any thread.
  RequestTable table_;
  EventQueue events_;
  StepLog step_log_;
  Publisher publisher_;
  std::atomic<bool> stepping_{false};
  std::atomic<int32_t> fault_{DIFFULEX_OK};

  std::mutex inbox_mutex_;  // guards the five below
  std::condition_variable inbox_changed_;
  std::vector<std::unique_ptr<Request>> inbox_;  // submitted since the last step
  std::shared_ptr<RequestRecord> aborts_;        // asked to end since then, a list
  int32_t queued_ = 0;                           // submitted and not admitted yet
  enum class Thread : uint8_t {
    kNone,
    kRunning,
    kDraining,
    kStopping
  } thread_state_ = Thread::kNone;
  std::thread thread_;
};

}  // namespace diffulex
