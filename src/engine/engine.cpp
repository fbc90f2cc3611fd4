#include "engine/engine.h"

#include <algorithm>
#include <chrono>
#include <system_error>

#include "base/error.h"
#include "base/system.h"
#include "engine/stop_strings.h"
#include "model/checkpoint.h"

namespace diffulex {
namespace {

// Shares of a load, for one fraction that never falls: metadata, weights, cache and kernels.
constexpr float kOpenShare = 0.05f;
constexpr float kWeightsShare = 0.90f;
constexpr uint64_t kProgressInterval = 50'000'000;  // ns between two calls

diffulex_progress progress_of(diffulex_load_phase phase, uint64_t done, uint64_t total,
                              const char* item, float fraction) {
  diffulex_progress progress{};
  progress.struct_size = sizeof(progress);
  progress.phase = phase;
  progress.done = done;
  progress.total = total;
  progress.item = item;
  progress.fraction = fraction;
  return progress;
}

void report(const ProgressFn& fn, const diffulex_progress& progress) {
  if (fn && !fn(progress))
    throw Error(DIFFULEX_E_CANCELLED, "the progress callback cancelled the load");
}

// Weight progress, thinned out to about 20 calls a second.
LoadProgress throttle(const ProgressFn& fn) {
  if (!fn) return nullptr;
  return [&fn, last = uint64_t{0}](uint64_t done, uint64_t total, const std::string& item) mutable {
    const uint64_t now = monotonic_ns();
    if (done < total && now - last < kProgressInterval) return true;
    last = now;
    const float share = total == 0 ? 1.0f : static_cast<float>(done) / static_cast<float>(total);
    return fn(progress_of(DIFFULEX_LOAD_WEIGHTS, done, total, item.c_str(),
                          kOpenShare + kWeightsShare * share));
  };
}

// Null when the model's directory has no tokenizer at all. One that was asked for must be there.
std::shared_ptr<const text::Tokenizer> load_tokenizer(const EngineConfig& config, const Log& log) {
  try {
    return text::Tokenizer::load(config.tokenizer_dir);
  } catch (const Error& error) {
    if (error.status() != DIFFULEX_E_IO || config.tokenizer_dir != config.model_dir) throw;
    log.write(DIFFULEX_LOG_WARN, "loader", "no tokenizer: " + error.message());
    return nullptr;
  }
}

void check_memory(const EngineConfig& config) {
  const MemoryPlan& m = config.memory;
  const uint64_t needed = m.weights + m.kv + m.workspace;
  if (config.available_bytes == 0 || needed <= config.available_bytes) return;
  throw Error(DIFFULEX_E_HOST_MEMORY, "the engine needs " + std::to_string(needed) +
                                          " bytes (weights " + std::to_string(m.weights) +
                                          ", KV cache " + std::to_string(m.kv) + ", workspace " +
                                          std::to_string(m.workspace) + "), " +
                                          std::to_string(config.available_bytes) + " are free")
      .with("bytes_needed", std::to_string(needed))
      .with("bytes_free", std::to_string(config.available_bytes));
}

}  // namespace

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

Engine::Engine(EngineConfig config, Log log, const ProgressFn& progress)
    : config_(std::move(config)),
      log_(log),
      events_(config_.event_mask),
      step_log_(config_.step_log_capacity),
      publisher_(events_) {
  load(progress);
}

void Engine::load(const ProgressFn& progress) {
  check_memory(config_);
  report(progress, progress_of(DIFFULEX_LOAD_OPEN, 0, 0, config_.model_dir.c_str(), 0));
  const std::shared_ptr<Checkpoint> checkpoint = Checkpoint::open(config_.model_dir);
  for (const std::string& warning : checkpoint->warnings())
    log_.write(DIFFULEX_LOG_WARN, "loader", warning);
  for (const std::string& note : config_.notes) log_.write(DIFFULEX_LOG_INFO, "engine", note);
  tokenizer_ = load_tokenizer(config_, log_);
  if (tokenizer_ != nullptr)  // what is chosen can be decoded
    config_.arch.token_count = std::min(config_.arch.token_count, tokenizer_->vocab_size());
  backend_ = config_.make_backend(config_.arch, checkpoint->weights(), config_.backend,
                                  throttle(progress));
  kernels_ = backend_->kernels();
  report(progress, progress_of(DIFFULEX_LOAD_CACHE, 0, 0, "", kOpenShare + kWeightsShare));
  cache_ = config_.strategy->make_cache_manager(config_.shape);
  scheduler_ = config_.strategy->make_scheduler(config_.shape, *cache_);
  runner_ = config_.strategy->make_runner(*backend_);
  finished_.reserve(static_cast<size_t>(config_.shape.max_requests));
  windows_before_.reserve(static_cast<size_t>(config_.shape.max_requests));
  head_rows_.reserve(static_cast<size_t>(config_.shape.max_requests));
  publisher_.publish_engine(*scheduler_, *cache_, diffulex_step_stats{});
  report(progress, progress_of(DIFFULEX_LOAD_WARMUP, 1, 1, kernels_.c_str(), 1));
  log_.write(DIFFULEX_LOG_INFO, "engine", "loaded " + config_.model_dir + " on " + kernels_);
}

Engine::~Engine() {
  {
    const std::lock_guard lock(inbox_mutex_);
    if (thread_state_ != Thread::kNone) thread_state_ = Thread::kStopping;
  }
  inbox_changed_.notify_all();
  if (thread_.joinable()) thread_.join();
  while (aborts_ != nullptr) {  // one by one: a long list would destroy itself recursively
    std::shared_ptr<RequestRecord> next = std::move(aborts_->next_abort);
    aborts_ = std::move(next);
  }
}

void Engine::throw_if_faulted() const {
  if (const int32_t status = fault_.load(std::memory_order_acquire); status != DIFFULEX_OK)
    throw Error(status, "the engine has failed; only reads work");
}

uint64_t Engine::submit(RequestSpec spec) {
  throw_if_faulted();
  if (!spec.stop_strings.empty() && tokenizer_ == nullptr)
    throw Error(DIFFULEX_E_TOKENIZER, "stop_strings need a tokenizer and the model has none")
        .with("option", "stop_strings");
  auto record = std::make_shared<RequestRecord>();
  Publisher::prepare(*record, spec);
  if (tokenizer_ != nullptr)
    record->detokenizer = std::make_unique<text::Detokenizer>(tokenizer_, false);
  const std::string salt = spec.cache_salt;
  const bool cacheable = spec.use_cache;
  const uint64_t id = table_.add(record);
  try {
    std::unique_ptr<Request> request = config_.strategy->make_request(id, std::move(spec), record);
    request->attention = config_.strategy->attention(*request);
    request->pages.root = PrefixIndex::root(salt);
    request->pages.cacheable = cacheable;
    request->pages.pages.reserve(static_cast<size_t>(config_.backend.max_pages_per_request));
    const std::lock_guard lock(inbox_mutex_);
    if (queued_ >= config_.shape.max_queue)
      throw Error(DIFFULEX_E_QUEUE_FULL, "max_queue = " + std::to_string(config_.shape.max_queue) +
                                             " requests wait already")
          .with("option", "max_queue");
    if (thread_state_ == Thread::kDraining || thread_state_ == Thread::kStopping)
      throw Error(DIFFULEX_E_INVALID_STATE, "the engine is being stopped");
    inbox_.push_back(std::move(request));
    ++queued_;
  } catch (...) {
    table_.remove(id);
    throw;
  }
  inbox_changed_.notify_one();
  return id;
}

void Engine::abort(const std::shared_ptr<RequestRecord>& record) {
  {
    const std::lock_guard lock(inbox_mutex_);
    if (record->abort_asked) return;
    record->abort_asked = true;
    record->next_abort = std::move(aborts_);
    aborts_ = record;
  }
  inbox_changed_.notify_one();
}

void Engine::release(uint64_t id) {
  const std::shared_ptr<RequestRecord> record = table_.remove(id);
  if (record == nullptr) return;
  abort(record);
  events_.drop(*record);
}

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
    undo_schedule();
    throw;
  } catch (const Error& error) {
    switch (error.status()) {
      case DIFFULEX_E_HOST_MEMORY:
        undo_schedule();
        break;
      case DIFFULEX_E_DEVICE_FAULT:
        fail(error.status(), error.what());
        break;
      default:
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
  const uint64_t forward_start = monotonic_ns();
  const StepResult result = runner_->run(step_number_, schedule);
  stats.forward_ns = monotonic_ns() - forward_start;
  publish(schedule, result, stats);
  settle();
  stats.duration_ns = monotonic_ns() - stats.start_ns;
  publish_engine(stats);
  step_log_.add(stats);
  ++step_number_;
  return true;
}

// What the step is about to do, before the requests change.
void Engine::note_schedule(const Schedule& schedule, diffulex_step_stats& stats) {
  windows_before_.clear();
  head_rows_.clear();
  stats.requests = static_cast<uint32_t>(schedule.rows.size());
  for (const ScheduledRequest& s : schedule.rows) {
    windows_before_.push_back(s.request->window);
    head_rows_.push_back(s.window_offset < 0 ? 0 : s.request->head_rows());
    stats.rows += static_cast<uint32_t>(s.rows);
    stats.prefill_tokens += static_cast<uint32_t>(s.window_offset < 0 ? s.rows : s.window_offset);
    for (int i = 0; s.window_offset >= 0 && i < s.request->window.valid; ++i)
      stats.active_blocks += s.request->window.blocks[i].status == decide::kActive ? 1 : 0;
  }
}

void Engine::publish(const Schedule& schedule, const StepResult& result,
                     diffulex_step_stats& stats) {
  size_t pick = 0;
  const uint64_t committed = publisher_.stats().committed_tokens;
  for (size_t i = 0; i < schedule.rows.size(); ++i) {
    Request& request = *schedule.rows[i].request;
    look_for_stop_strings(request);
    const auto count = static_cast<size_t>(head_rows_[i]);
    publisher_.publish_step(request, windows_before_[i], result.picks.subspan(pick, count),
                            step_number_);
    if (schedule.rows[i].window_offset >= 0)
      stats.revealed_slots += static_cast<uint32_t>(request.window.revealed);
    pick += count;
  }
  stats.committed_tokens = static_cast<uint32_t>(publisher_.stats().committed_tokens - committed);
}

void Engine::settle() {
  finished_.clear();
  {
    const std::lock_guard lock(cache_mutex_);
    scheduler_->settle(finished_);
  }
  for (std::unique_ptr<Request>& request : finished_) end_request(std::move(request));
}

void Engine::publish_engine(diffulex_step_stats& stats) {
  const std::lock_guard lock(cache_mutex_);
  stats.kv_pages_free = static_cast<uint32_t>(cache_->free_pages());
  publisher_.publish_engine(*scheduler_, *cache_, stats);
}

void Engine::undo_schedule() noexcept { scheduler_->undo(); }

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
bool Engine::step_or_recover() {
  constexpr int kTries = 4;
  constexpr auto kPause = std::chrono::milliseconds(5);
  try {
    const bool worked = step();
    failures_in_a_row_ = 0;
    return worked;
  } catch (const std::bad_alloc&) {
    if (++failures_in_a_row_ >= kTries) {
      failures_in_a_row_ = 0;
      if (auto request = take([this] { return scheduler_->remove_last(); }); request != nullptr)
        end_request(std::move(request), DIFFULEX_FINISH_ERROR, DIFFULEX_E_HOST_MEMORY);
    }
    std::this_thread::sleep_for(kPause);
    return true;
  } catch (const std::exception&) {  // step() has ended who was concerned
    return fault_.load(std::memory_order_acquire) == DIFFULEX_OK;
  }
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
