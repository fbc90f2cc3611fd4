// The engine's own thread.
#include <chrono>
#include <system_error>

#include "base/error.h"
#include "engine/engine.h"

namespace diffulex {

void Engine::abort_all() {
  take_commands();
  end_all(DIFFULEX_FINISH_ABORTED, DIFFULEX_OK);
  diffulex_step_stats none{};
  publish_engine(none);
}

void Engine::start() {
  if (config_.run_mode != DIFFULEX_RUN_THREAD)
    throw Error(DIFFULEX_E_INVALID_STATE,
                "the engine was created with run_mode MANUAL; step it with diffulex_engine_step");
  throw_if_faulted();
  const std::lock_guard lock(inbox_mutex_);
  if (thread_state_ != Thread::kNone)
    throw Error(DIFFULEX_E_INVALID_STATE, "the engine's thread runs already");
  try {
    thread_ = std::thread([this] { thread_loop(); });
  } catch (const std::system_error& error) {
    throw Error(DIFFULEX_E_HOST_MEMORY, std::string("no thread can be started: ") + error.what());
  }
  thread_state_ = Thread::kRunning;  // the thread looks at it behind the mutex
}

void Engine::stop(bool drain) {
  {
    const std::lock_guard lock(inbox_mutex_);
    if (thread_state_ != Thread::kRunning)
      throw Error(DIFFULEX_E_INVALID_STATE, "the engine's thread does not run");
    thread_state_ = drain ? Thread::kDraining : Thread::kStopping;
  }
  inbox_changed_.notify_all();
  thread_.join();
  const std::lock_guard lock(inbox_mutex_);
  thread_state_ = Thread::kNone;
}

// Without memory a step is tried again a few times, then the last request in order pays.
void Engine::give_way(diffulex_status status) {
  constexpr int kTries = 4;
  constexpr auto kPause = std::chrono::milliseconds(5);
  if (++failures_in_a_row_ >= kTries) {
    failures_in_a_row_ = 0;
    if (auto request = take([this] { return scheduler_->remove_last(); }); request != nullptr)
      end_request(std::move(request), DIFFULEX_FINISH_ERROR, status);
  }
  std::this_thread::sleep_for(kPause);
}

bool Engine::step_or_recover() {
  try {
    const bool worked = step();
    failures_in_a_row_ = 0;
    return worked;
  } catch (const std::bad_alloc&) {
    give_way(DIFFULEX_E_HOST_MEMORY);
    return true;
  } catch (const Error& error) {
    if (is_out_of_memory(error.status())) {
      give_way(error.status());
      return true;
    }
  } catch (const std::exception&) {  // step() has ended who was concerned
  }
  return fault_.load(std::memory_order_acquire) == DIFFULEX_OK;
}

void Engine::thread_loop() {
  while (true) {
    const bool worked = step_or_recover();
    std::unique_lock lock(inbox_mutex_);
    if (thread_state_ == Thread::kStopping || fault_.load() != DIFFULEX_OK) break;
    if (worked || !inbox_.empty() || aborts_ != nullptr) continue;
    if (thread_state_ == Thread::kDraining) break;
    inbox_changed_.wait(lock, [this] {
      return !inbox_.empty() || aborts_ != nullptr || thread_state_ != Thread::kRunning;
    });
  }
  abort_all();
  events_.interrupt();
}

}  // namespace diffulex
