#include "engine/engine.h"

#include <algorithm>

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

// The tokenizer of a directory; null when the directory has none at all.
std::shared_ptr<const text::Tokenizer> load_tokenizer(const std::string& dir, const Log& log) {
  try {
    return text::Tokenizer::load(dir);
  } catch (const Error& error) {
    if (error.status() != DIFFULEX_E_IO) throw;
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

diffulex_status status_of(diffulex_finish finish) {
  return finish == DIFFULEX_FINISH_ERROR ? DIFFULEX_E_INTERNAL : DIFFULEX_OK;
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
  tokenizer_ = load_tokenizer(config_.tokenizer_dir, log_);
  backend_ = cpu::create(config_.arch, checkpoint->weights(), config_.backend, throttle(progress));
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
    inbox_.push_back(Command{std::move(request), 0});
    ++queued_;
  } catch (...) {
    table_.remove(id);
    throw;
  }
  inbox_changed_.notify_one();
  return id;
}

void Engine::abort(uint64_t id) {
  {
    const std::lock_guard lock(inbox_mutex_);
    inbox_.push_back(Command{nullptr, id});
  }
  inbox_changed_.notify_one();
}

void Engine::release(uint64_t id) {
  const std::shared_ptr<RequestRecord> record = table_.remove(id);
  if (record == nullptr) return;
  abort(id);
  events_.drop(*record);
}

void Engine::take_commands() {
  taken_.clear();
  {
    const std::lock_guard lock(inbox_mutex_);
    taken_.swap(inbox_);
  }
  for (Command& command : taken_) {
    if (command.submit != nullptr) {
      scheduler_->add(std::move(command.submit));
    } else if (std::unique_ptr<Request> request = scheduler_->remove(command.abort);
               request != nullptr) {
      end_request(std::move(request), DIFFULEX_FINISH_ABORTED, DIFFULEX_OK);
    }
  }
}

void Engine::end_request(std::unique_ptr<Request> request, diffulex_finish finish,
                         diffulex_status status) {
  publisher_.publish_finished(*request, finish, status, step_number_);
}

// A deadline keeps what is filled without a gap, like the limit on forwards.
void Engine::end_late_requests() {
  while (std::unique_ptr<Request> request = scheduler_->remove_late(monotonic_ns())) {
    const decide::Window before = request->window;
    request->cut_short(decide::kDeadline);
    end_at_stop_string(*request);
    publisher_.publish_cut(*request, before, step_number_);
    const auto finish = static_cast<diffulex_finish>(request->window.finish);
    end_request(std::move(request), finish, DIFFULEX_OK);
  }
}

// Nobody could run and nobody gave way: the request in front does not fit, and would not tomorrow.
void Engine::end_stuck_request() {
  std::unique_ptr<Request> request = scheduler_->remove_stuck();
  if (request == nullptr) return;
  log_.write(DIFFULEX_LOG_ERROR, "engine",
             "the KV cache cannot hold request " + std::to_string(request->id));
  end_request(std::move(request), DIFFULEX_FINISH_ERROR, DIFFULEX_E_HOST_MEMORY);
}

bool Engine::step() {
  const StepGuard guard(stepping_);
  throw_if_faulted();
  try {
    return run_step();
  } catch (const Error& error) {
    fail(error.status(), error.message());
    throw;
  } catch (const std::bad_alloc&) {
    fail(DIFFULEX_E_HOST_MEMORY, "host memory ran out during a step");
    throw;
  } catch (const std::exception& error) {
    fail(DIFFULEX_E_INTERNAL, error.what());
    throw;
  }
}

bool Engine::run_step() {
  const uint64_t start = monotonic_ns();
  take_commands();
  end_late_requests();
  diffulex_step_stats stats{};
  stats.step = step_number_;
  stats.start_ns = start;
  const Schedule& schedule = scheduler_->schedule();
  {
    const std::lock_guard lock(inbox_mutex_);
    queued_ = static_cast<int32_t>(scheduler_->waiting_count() + inbox_.size());
  }
  for (const Request* request : schedule.preempted)
    publisher_.publish_preempted(*request, step_number_);
  for (const Request* request : schedule.admitted)
    publisher_.publish_admitted(*request, step_number_);
  if (schedule.rows.empty()) {
    const bool stuck = schedule.preempted.empty() && !scheduler_->empty();
    if (stuck) end_stuck_request();
    publisher_.publish_engine(*scheduler_, *cache_, stats);
    return stuck || !schedule.preempted.empty();
  }

  windows_before_.clear();
  head_rows_.clear();
  for (const ScheduledRequest& s : schedule.rows) {
    windows_before_.push_back(s.request->window);
    head_rows_.push_back(s.window_offset < 0 ? 0 : s.request->head_rows());
    stats.rows += static_cast<uint32_t>(s.rows);
    stats.prefill_tokens += static_cast<uint32_t>(s.window_offset < 0 ? s.rows : s.window_offset);
    for (int i = 0; s.window_offset >= 0 && i < s.request->window.valid; ++i)
      stats.active_blocks += s.request->window.blocks[i].status == decide::kActive ? 1 : 0;
  }
  const uint64_t forward_start = monotonic_ns();
  const StepResult result = runner_->run(step_number_, schedule);
  stats.forward_ns = monotonic_ns() - forward_start;
  stats.requests = static_cast<uint32_t>(schedule.rows.size());

  size_t pick = 0;
  const uint64_t committed = publisher_.stats().committed_tokens;
  for (size_t i = 0; i < schedule.rows.size(); ++i) {
    Request& request = *schedule.rows[i].request;
    end_at_stop_string(request);
    const auto count = static_cast<size_t>(head_rows_[i]);
    publisher_.publish_step(request, windows_before_[i], result.picks.subspan(pick, count),
                            step_number_);
    if (schedule.rows[i].window_offset >= 0)
      stats.revealed_slots += static_cast<uint32_t>(request.window.revealed);
    pick += count;
  }
  stats.committed_tokens = static_cast<uint32_t>(publisher_.stats().committed_tokens - committed);
  finished_.clear();
  scheduler_->settle(finished_);
  for (std::unique_ptr<Request>& request : finished_) {
    const auto finish = static_cast<diffulex_finish>(request->window.finish);
    end_request(std::move(request), finish, status_of(finish));
  }
  stats.kv_pages_free = static_cast<uint32_t>(cache_->free_pages());
  stats.duration_ns = monotonic_ns() - start;
  step_log_.add(stats);
  publisher_.publish_engine(*scheduler_, *cache_, stats);
  ++step_number_;
  return true;
}

// The device or the process has failed in the middle of a step: no request can go on, but
// everything stays readable.
void Engine::fail(diffulex_status status, const std::string& message) {
  fault_.store(status, std::memory_order_release);
  log_.write(DIFFULEX_LOG_ERROR, "engine", message);
  for (const uint64_t id : scheduler_->ids())
    if (std::unique_ptr<Request> request = scheduler_->remove(id); request != nullptr)
      end_request(std::move(request), DIFFULEX_FINISH_ERROR, status);
  diffulex_event event{};
  event.type = DIFFULEX_EVENT_ENGINE_FAULT;
  event.step = step_number_;
  event.time_ns = monotonic_ns();
  event.status = status;
  events_.push_fault(event);
}

void Engine::abort_all() {
  take_commands();
  for (const uint64_t id : scheduler_->ids())
    if (std::unique_ptr<Request> request = scheduler_->remove(id); request != nullptr)
      end_request(std::move(request), DIFFULEX_FINISH_ABORTED, DIFFULEX_OK);
  publisher_.publish_engine(*scheduler_, *cache_, diffulex_step_stats{});
}

void Engine::start() {
  if (config_.run_mode != DIFFULEX_RUN_THREAD)
    throw Error(DIFFULEX_E_INVALID_STATE,
                "the engine was created with run_mode MANUAL; step it with diffulex_engine_step");
  throw_if_faulted();
  const std::lock_guard lock(inbox_mutex_);
  if (thread_state_ != Thread::kNone)
    throw Error(DIFFULEX_E_INVALID_STATE, "the engine's thread runs already");
  thread_state_ = Thread::kRunning;
  thread_ = std::thread([this] { thread_loop(); });
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

void Engine::thread_loop() {
  while (true) {
    bool worked = false;
    try {
      worked = step();
    } catch (const std::exception&) {
      break;  // fail() has told everybody
    }
    std::unique_lock lock(inbox_mutex_);
    if (thread_state_ == Thread::kStopping) break;
    if (worked || !inbox_.empty()) continue;
    if (thread_state_ == Thread::kDraining) break;
    inbox_changed_.wait(lock,
                        [this] { return !inbox_.empty() || thread_state_ != Thread::kRunning; });
  }
  abort_all();
  events_.interrupt();
}

}  // namespace diffulex
