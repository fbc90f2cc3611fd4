#include "engine/engine.h"

#include <algorithm>

#include "base/error.h"
#include "base/system.h"
#include "engine/model_files.h"

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

void check_memory(const EngineConfig& config) {
  const MemoryPlan& m = config.memory;
  const uint64_t needed = m.weights + m.kv + m.workspace;
  if (config.available_bytes == 0 || needed <= config.available_bytes) return;
  throw Error(out_of_memory(*config.device),
              "the engine needs " + std::to_string(needed) + " bytes (weights " +
                  std::to_string(m.weights) + ", KV cache " + std::to_string(m.kv) +
                  ", workspace " + std::to_string(m.workspace) + "), " +
                  std::to_string(config.available_bytes) + " are free")
      .with("bytes_needed", std::to_string(needed))
      .with("bytes_free", std::to_string(config.available_bytes));
}

}  // namespace

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
  ProblemList problems;
  const ModelFiles files =
      open_model_files(config_.model_dir, config_.tokenizer_dir, config_.model.get(), &problems);
  config_.model.reset();
  for (const std::string& warning : files.warnings)
    log_.write(DIFFULEX_LOG_WARN, "loader", warning);
  for (const std::string& note : config_.notes) log_.write(DIFFULEX_LOG_INFO, "engine", note);
  tokenizer_ = files.tokenizer;
  if (tokenizer_ != nullptr)  // what is chosen can be decoded
    config_.arch.token_count = std::min(config_.arch.token_count, tokenizer_->vocab_size());
  settle_head(files.checkpoint->arch());
  backend_ = config_.make_backend(config_.arch, files.checkpoint->weights(), config_.backend,
                                  throttle(progress));
  kernels_ = backend_->kernels();
  take_sizes();
  report(progress, progress_of(DIFFULEX_LOAD_CACHE, 0, 0, "", kOpenShare + kWeightsShare));
  cache_ = config_.strategy->make_cache_manager(config_.shape);
  scheduler_ = config_.strategy->make_scheduler(config_.shape, *cache_);
  runner_ = config_.strategy->make_runner(*backend_);
  finished_.reserve(static_cast<size_t>(config_.shape.max_requests));
  windows_before_.reserve(static_cast<size_t>(config_.shape.max_requests));
  publisher_.publish_engine(*scheduler_, *cache_, diffulex_step_stats{});
  report(progress, progress_of(DIFFULEX_LOAD_WARMUP, 1, 1, kernels_.c_str(), 1));
  log_.write(DIFFULEX_LOG_INFO, "engine", "loaded " + config_.model_dir + " on " + kernels_);
}

// Whether the head is the embedding is for the weights to say, not for config.json.
void Engine::settle_head(const ArchSpec& opened) {
  if (opened.tied_embeddings == config_.arch.tied_embeddings) return;
  config_.arch.tied_embeddings = opened.tied_embeddings;
  config_.memory.weights = plan_memory(*config_.device, config_.arch, config_.backend).weights;
  check_memory(config_);
}

// As it is: a backend that measures what is left for the cache may have other sizes than planned.
void Engine::take_sizes() {
  config_.memory = backend_->memory();
  EngineShape& shape = config_.shape;
  const int64_t pages = backend_->kv_pages();
  if (pages == shape.kv_pages) return;
  shape.kv_pages = static_cast<int32_t>(pages);
  shape.max_model_len =
      static_cast<int32_t>(std::min<int64_t>(config_.asked_length, pages * shape.page_size));
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

}  // namespace diffulex
