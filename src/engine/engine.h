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

  // Owner thread. One step; false when no request could run.
  bool step();
  void start();
  void stop(bool drain);

  // Any thread.
  uint64_t submit(RequestSpec spec);
  void abort(uint64_t id);
  void release(uint64_t id);
  std::shared_ptr<RequestRecord> find(uint64_t id) const { return table_.find(id); }
  EventQueue& events() { return events_; }
  diffulex_engine_stats stats() const { return publisher_.stats(); }
  const StepLog& step_log() const { return step_log_; }

 private:
  struct Command {
    std::unique_ptr<Request> submit;  // or:
    uint64_t abort = 0;
  };
  class StepGuard;

  void load(const ProgressFn& progress);
  void take_commands();
  void end_late_requests();
  void end_stuck_request();
  void end_request(std::unique_ptr<Request> request, diffulex_finish finish,
                   diffulex_status status);
  bool run_step();
  void fail(diffulex_status status, const std::string& message);
  void throw_if_faulted() const;
  void thread_loop();
  void abort_all();

  const EngineConfig config_;
  const Log log_;
  std::shared_ptr<const text::Tokenizer> tokenizer_;
  std::string kernels_;

  // Owner thread only.
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<KvCacheManager> cache_;
  std::unique_ptr<Scheduler> scheduler_;
  std::unique_ptr<ModelRunner> runner_;
  std::vector<Command> taken_;
  std::vector<std::unique_ptr<Request>> finished_;
  std::vector<decide::Window> windows_before_;  // [rows of the schedule]
  std::vector<int32_t> head_rows_;              // likewise
  uint64_t step_number_ = 0;

  // Any thread.
  RequestTable table_;
  EventQueue events_;
  StepLog step_log_;
  Publisher publisher_;
  std::atomic<bool> stepping_{false};
  std::atomic<int32_t> fault_{DIFFULEX_OK};

  std::mutex inbox_mutex_;  // guards the four below
  std::condition_variable inbox_changed_;
  std::vector<Command> inbox_;
  int32_t queued_ = 0;  // submitted and not admitted yet
  enum class Thread : uint8_t {
    kNone,
    kRunning,
    kDraining,
    kStopping
  } thread_state_ = Thread::kNone;
  std::thread thread_;
};

}  // namespace diffulex
