// One step of an engine: commands, schedule, forward, results, and what becomes of a step that
// fails.
#include "base/error.h"
#include "base/system.h"
#include "engine/engine.h"
#include "engine/stop_strings.h"

namespace diffulex {

// One stepper at a time; the second one is told so.
class Engine::StepGuard {
 public:
  explicit StepGuard(std::atomic<bool>& flag) : flag_(flag) {
    if (flag_.exchange(true, std::memory_order_acquire))
      throw Error(DIFFULEX_E_INVALID_STATE, "another thread is stepping this engine");
  }
  ~StepGuard() { flag_.store(false, std::memory_order_release); }
  StepGuard(const StepGuard&) = delete;
  StepGuard& operator=(const StepGuard&) = delete;

 private:
  std::atomic<bool>& flag_;
};

void Engine::take_commands() {
  std::shared_ptr<RequestRecord> aborts;
  taken_.clear();
  {
    const std::lock_guard lock(inbox_mutex_);
    taken_.swap(inbox_);
    aborts.swap(aborts_);
  }
  for (std::unique_ptr<Request>& request : taken_) {
    try {
      scheduler_->add(std::move(request));
    } catch (const std::bad_alloc&) {
      end_request(std::move(request), DIFFULEX_FINISH_ERROR, DIFFULEX_E_HOST_MEMORY);
    }
  }
  while (aborts != nullptr) {
    std::unique_ptr<Request> request = take([&] { return scheduler_->remove(aborts->id); });
    if (request != nullptr) end_request(std::move(request), DIFFULEX_FINISH_ABORTED, DIFFULEX_OK);
    std::shared_ptr<RequestRecord> next = std::move(aborts->next_abort);
    aborts = std::move(next);
  }
}

void Engine::end_request(std::unique_ptr<Request> request, diffulex_finish finish,
                         diffulex_status status) {
  publisher_.publish_finished(*request, finish, status, step_number_);
}

// With what a request ended that decided so itself.
void Engine::end_request(std::unique_ptr<Request> request) {
  const int32_t why = request->window.finish;
  const bool failed = why == decide::kSamplerFault || why == decide::kOutOfMemory;
  const diffulex_status status = why == decide::kOutOfMemory ? DIFFULEX_E_HOST_MEMORY
                                 : failed                    ? DIFFULEX_E_INTERNAL
                                                             : DIFFULEX_OK;
  end_request(std::move(request), failed ? DIFFULEX_FINISH_ERROR : diffulex_finish{why}, status);
}

// Looking for stop strings decodes text: the one thing behind a forward that takes memory. Without
// it this request ends, and no other.
void Engine::look_for_stop_strings(Request& request) noexcept {
  try {
    end_at_stop_string(request);
  } catch (const std::bad_alloc&) {
    request.window.finish = decide::kOutOfMemory;
  } catch (const std::exception& error) {
    say(DIFFULEX_LOG_ERROR, error.what(), request.id);
    request.window.finish = decide::kSamplerFault;
  }
}

// A deadline keeps what is filled without a gap, like the limit on forwards.
void Engine::end_late_requests() {
  const auto late = [this] { return scheduler_->remove_late(monotonic_ns()); };
  while (std::unique_ptr<Request> request = take(late)) {
    const decide::Window before = request->window;
    request->cut_short(decide::kDeadline);
    look_for_stop_strings(*request);
    publisher_.publish_cut(*request, before, step_number_);
    end_request(std::move(request));
  }
}

// Nobody could run and nobody gave way: the request in front does not fit, and would not tomorrow.
void Engine::end_stuck_request() {
  std::unique_ptr<Request> request = take([this] { return scheduler_->remove_first(); });
  if (request == nullptr) return;
  const uint64_t id = request->id;
  end_request(std::move(request), DIFFULEX_FINISH_ERROR, DIFFULEX_E_HOST_MEMORY);
  say(DIFFULEX_LOG_ERROR, "the KV cache cannot hold the request", id);
}

// A step that fails loses nothing but what failed: without memory nothing has happened, and the
// same step may be tried again; a defect ends the requests that took part; only a lost device ends
// the engine.
bool Engine::step() {
  const StepGuard guard(stepping_);
  throw_if_faulted();
  try {
    return run_step();
  } catch (const std::bad_alloc&) {
    scheduler_->undo();
    throw;
  } catch (const Error& error) {
    if (is_out_of_memory(error.status())) {
      scheduler_->undo();
    } else if (error.status() == DIFFULEX_E_DEVICE_FAULT) {
      fail(error.status(), error.what());
    } else {
      fail_step(error.status(), error.what());
    }
    throw;
  } catch (const std::exception& error) {
    fail_step(DIFFULEX_E_INTERNAL, error.what());
    throw;
  }
}

const Schedule& Engine::make_schedule() {
  const Schedule* schedule = nullptr;
  {
    const std::lock_guard lock(cache_mutex_);
    cache_->set_step(step_number_);
    schedule = &scheduler_->schedule();
  }
  {
    const std::lock_guard lock(inbox_mutex_);
    queued_ = static_cast<int32_t>(scheduler_->waiting_count() + inbox_.size());
  }
  for (const Request* request : schedule->preempted)
    publisher_.publish_preempted(*request, step_number_);
  for (const Request* request : schedule->admitted)
    publisher_.publish_admitted(*request, step_number_);
  return *schedule;
}

bool Engine::run_step() {
  diffulex_step_stats stats{};
  stats.step = step_number_;
  stats.start_ns = monotonic_ns();
  take_commands();
  end_late_requests();
  const Schedule& schedule = make_schedule();
  if (schedule.rows.empty()) {
    const bool stuck = schedule.preempted.empty() && !scheduler_->empty();
    if (stuck) end_stuck_request();
    publish_engine(stats);
    return stuck || !schedule.preempted.empty();
  }
  note_schedule(schedule, stats);
  const int ahead = steps_ahead(schedule);
  const uint64_t forward_start = monotonic_ns();
  const StepResult result = runner_->run(step_number_, schedule, ahead);
  stats.forward_ns = monotonic_ns() - forward_start;
  finish_step(schedule, result, ahead > 0, stats);
  follow_steps(schedule, ahead);
  return true;
}

// How many steps the device may run behind this one; their pages are reserved.
int Engine::steps_ahead(const Schedule& schedule) {
  const int most = config_.shape.device_steps - 1;
  if (most == 0 || !runner_->worth_following(schedule, most)) return 0;
  const std::lock_guard lock(cache_mutex_);
  return scheduler_->reserve_ahead(most);
}

// One step is always asked for ahead of the one that is waited for, so that the device does not
// wait for the host. A step that was asked for is done, whatever has come up in the meantime: what
// has ended is not in its schedule any more, and nobody takes its pages or its place before.
void Engine::follow_steps(const Schedule& schedule, int ahead) {
  for (bool asked = ahead > 0; asked;) {
    diffulex_step_stats stats{};
    stats.step = step_number_;
    stats.start_ns = monotonic_ns();
    if (!scheduler_->follow()) {
      runner_->drain();
      break;
    }
    note_schedule(schedule, stats);
    asked = --ahead > 0 && may_go_on();
    const uint64_t forward_start = monotonic_ns();
    const StepResult result = runner_->next(schedule, asked);
    stats.forward_ns = monotonic_ns() - forward_start;
    finish_step(schedule, result, asked, stats);
  }
}

// Nothing has come up that the host must see to before the step behind the next one.
bool Engine::may_go_on() {
  if (!finished_.empty() || scheduler_->late(monotonic_ns())) return false;
  const std::lock_guard lock(inbox_mutex_);
  return inbox_.empty() && aborts_ == nullptr && thread_state_ != Thread::kStopping;
}

// asked: another step follows.
void Engine::finish_step(const Schedule& schedule, const StepResult& result, bool asked,
                         diffulex_step_stats& stats) {
  publish(schedule, result, stats);
  settle(asked);
  stats.duration_ns = monotonic_ns() - stats.start_ns;
  publish_engine(stats);
  step_log_.add(stats);
  ++step_number_;
}

// What the step is about to do, before the requests change.
void Engine::note_schedule(const Schedule& schedule, diffulex_step_stats& stats) {
  windows_before_.clear();
  for (const ScheduledRequest& s : schedule.rows) {
    windows_before_.push_back(s.request != nullptr ? s.request->window : decide::Window{});
    if (s.request == nullptr) continue;
    ++stats.requests;
    stats.rows += static_cast<uint32_t>(s.rows);
    stats.prefill_tokens += static_cast<uint32_t>(s.window_offset < 0 ? s.rows : s.window_offset);
    for (int i = 0; s.window_offset >= 0 && i < s.request->window.valid; ++i)
      stats.active_blocks += s.request->window.blocks[i].status == decide::kActive ? 1 : 0;
  }
}

void Engine::publish(const Schedule& schedule, const StepResult& result,
                     diffulex_step_stats& stats) {
  const uint64_t committed = publisher_.stats().committed_tokens;
  for (size_t i = 0; i < schedule.rows.size(); ++i) {
    if (schedule.rows[i].request == nullptr) continue;
    Request& request = *schedule.rows[i].request;
    const RequestRow& row = result.requests[i];
    look_for_stop_strings(request);
    publisher_.publish_step(request, windows_before_[i],
                            result.picks.subspan(row.head_begin, row.head_count), step_number_);
    if (schedule.rows[i].window_offset >= 0)
      stats.revealed_slots += static_cast<uint32_t>(request.window.revealed);
  }
  stats.committed_tokens = static_cast<uint32_t>(publisher_.stats().committed_tokens - committed);
}

void Engine::settle(bool asked) {
  finished_.clear();
  {
    const std::lock_guard lock(cache_mutex_);
    cache_->set_step(step_number_);
    scheduler_->settle(finished_);
    if (!asked) scheduler_->return_spare_pages();
  }
  for (std::unique_ptr<Request>& request : finished_) end_request(std::move(request));
}

void Engine::publish_engine(diffulex_step_stats& stats) {
  const std::lock_guard lock(cache_mutex_);
  stats.kv_pages_free = static_cast<uint32_t>(cache_->free_pages());
  publisher_.publish_engine(*scheduler_, *cache_, stats);
}

// A defect showed in this step: what took part cannot be trusted, the others can.
void Engine::fail_step(diffulex_status status, const char* message) noexcept {
  say(DIFFULEX_LOG_ERROR, message);
  {
    const std::lock_guard lock(cache_mutex_);
    finished_.clear();
    scheduler_->drop_scheduled(finished_);
  }
  for (std::unique_ptr<Request>& request : finished_)
    end_request(std::move(request), DIFFULEX_FINISH_ERROR, status);
}

// The device is lost: no request can go on, but everything stays readable.
void Engine::fail(diffulex_status status, const char* message) noexcept {
  fault_.store(status, std::memory_order_release);
  say(DIFFULEX_LOG_ERROR, message);
  end_all(DIFFULEX_FINISH_ERROR, status);
  diffulex_event event{};
  event.type = DIFFULEX_EVENT_ENGINE_FAULT;
  event.step = step_number_;
  event.time_ns = monotonic_ns();
  event.status = status;
  events_.push_fault(event);
}

void Engine::say(diffulex_log_level level, const char* message, uint64_t request) const noexcept {
  try {
    log_.write(level, "engine", message, request);
  } catch (const std::exception&) {  // a log line is not worth an engine
  }
}

void Engine::end_all(diffulex_finish finish, diffulex_status status) noexcept {
  while (std::unique_ptr<Request> request = take([this] { return scheduler_->remove_first(); }))
    end_request(std::move(request), finish, status);
}

}  // namespace diffulex
