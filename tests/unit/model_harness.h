// The engine's parts over the real CPU backend and the shipped tiny-sdar model: what StepHarness is
// for scripted picks. After every step it checks that what was committed stays as it was.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "base/options.h"
#include "device_steps.h"
#include "engine/request_record.h"
#include "model/checkpoint.h"
#include "sampler/sampler.h"
#include "strategy/strategy.h"

namespace diffulex::testing {

inline constexpr int32_t kModelLen = 320;  // of the golden outputs

// Mapped once; every backend packs its own copy.
inline const Checkpoint& tiny_sdar() {
  static const std::shared_ptr<Checkpoint> checkpoint =
      Checkpoint::open(std::string(DIFFULEX_MODELS_DIR) + "/tiny-sdar");
  return *checkpoint;
}

// One way to run the model. None of it but dtype and buffer_blocks may show in an output.
struct ModelSetup {
  DType dtype = DType::kF32;
  int32_t buffer_blocks = 1;
  int32_t page_size = 32;
  int32_t max_requests = 8;
  bool smallest_batch = false;  // max_batched_tokens: a window for each request, or 512
  bool prefix_caching = false;
  int threads = 1;
  int32_t kv_tokens = 0;  // size of the cache; 0 = room for everything
  int device_steps = 1;
  const char* strategy = "multi_bd";
  const char* family = "sdar";  // whose accept rule; the weights are tiny-sdar's all the same
};

inline std::ostream& operator<<(std::ostream& out, const ModelSetup& s) {
  return out << diffulex::name_of(s.dtype) << ", buffer " << s.buffer_blocks << ", pages of "
             << s.page_size << ", " << s.max_requests << " requests, "
             << (s.smallest_batch ? "smallest" : "large") << " batch, caching "
             << (s.prefix_caching ? "on" : "off") << ", threads " << s.threads << ", kv tokens "
             << s.kv_tokens << ", device steps " << s.device_steps << ", " << s.strategy << " as "
             << s.family;
}

struct Job {
  std::string name;
  std::vector<int32_t> prompt;
  int32_t max_tokens = kModelLen;
  float temperature = 0;
  bool ignore_eos = false;
};

// What must not depend on the setup.
struct Outcome {
  std::vector<int32_t> tokens;
  int32_t finish = 0;
  int32_t denoise_forwards = 0;
  bool operator==(const Outcome&) const = default;
};

inline std::ostream& operator<<(std::ostream& out, const Outcome& o) {
  out << "finish " << o.finish << ", " << o.denoise_forwards << " denoising forwards,";
  for (const int32_t token : o.tokens) out << ' ' << token;
  return out;
}

// Takes pages away from requests between two steps, as a step that runs out of them would.
class PreemptingScheduler : public Scheduler {
 public:
  using Scheduler::Scheduler;

  // False when the request does not run.
  bool preempt_request(uint64_t id) {
    const size_t at = running_index(id);
    if (at >= running_count()) return false;
    preempt(at);
    return true;
  }

  void preempt_all() {
    while (running_count() > 0) preempt(running_count() - 1);
  }
};

class ModelHarness {
 public:
  explicit ModelHarness(const ModelSetup& setup)
      : shape_(shape_of(setup)),
        strategy_(find_strategy(setup.strategy)),
        sampler_(sampler_for(setup.family)),
        backend_(cpu::create(tiny_sdar().arch(), tiny_sdar().weights(),
                             backend_config(shape_, setup), nullptr)),
        cache_(strategy_.make_cache_manager(shape_)),
        runner_(strategy_.make_runner(*backend_)),
        scheduler(SchedulerLimits{shape_.max_requests, shape_.max_batched_tokens}, *cache_) {}

  // Returns the index of the request.
  size_t add(const Job& job) {
    auto request = strategy_.make_request(requests_.size() + 1, spec_of(job),
                                          std::make_shared<RequestRecord>());
    request->attention = strategy_.attention(*request);
    requests_.push_back(request.get());
    jobs_.push_back(job);
    committed_.emplace_back();
    scheduler.add(std::move(request));
    return requests_.size() - 1;
  }

  // False when nothing could run.
  bool step() {
    const Schedule& schedule = scheduler.schedule();
    preempted_by_memory += schedule.preempted.size();
    if (schedule.rows.empty()) return !schedule.preempted.empty();
    const StepHooks hooks{{}, [this](const Schedule&) { check_committed(); }, {}, {}};
    const uint64_t ran =
        run_steps(scheduler, *runner_, schedule, steps, shape_.device_steps, finished_, hooks);
    steps += ran;
    followed += ran - 1;
    return true;
  }

  void run() {
    while (step()) {
    }
    EXPECT_TRUE(scheduler.empty()) << "no progress";
    EXPECT_EQ(cache_->free_pages(), shape_.kv_pages);
  }

  // Requests stay here when they have finished.
  const Request& request(size_t index) const { return *requests_[index]; }
  const Job& job(size_t index) const { return jobs_[index]; }
  size_t count() const { return requests_.size(); }
  Outcome outcome(size_t index) const {
    const Request& r = request(index);
    return {committed_of(r), r.window.finish, r.window.denoise_forwards};
  }

 private:
  static EngineShape shape_of(const ModelSetup& setup) {
    EngineShape shape;
    shape.block_size = tiny_sdar().arch().block_size;
    shape.buffer_blocks = setup.buffer_blocks;
    shape.page_size = setup.page_size;
    shape.max_requests = setup.max_requests;
    shape.max_batched_tokens =
        setup.smallest_batch ? setup.max_requests * setup.buffer_blocks * shape.block_size : 512;
    shape.max_model_len = kModelLen;
    const int32_t tokens =
        setup.kv_tokens != 0 ? setup.kv_tokens : (setup.max_requests + 1) * kModelLen;
    shape.kv_pages = (tokens + setup.page_size - 1) / setup.page_size;
    shape.prefix_caching = setup.prefix_caching;
    shape.device_steps = setup.device_steps;
    return shape;
  }

  static BackendConfig backend_config(const EngineShape& shape, const ModelSetup& setup) {
    BackendConfig config;
    config.max_requests = shape.max_requests;
    config.max_tokens = shape.max_batched_tokens;
    config.window_stride = shape.buffer_blocks * shape.block_size;
    config.max_head_rows = shape.max_requests * config.window_stride;
    config.max_pages_per_request = (shape.max_model_len + shape.page_size - 1) / shape.page_size;
    config.page_size = shape.page_size;
    config.kv_pages = shape.kv_pages;
    config.weight_dtype = setup.dtype;
    config.kv_dtype = setup.dtype == DType::kI8 ? cpu::best_weight_dtype() : setup.dtype;
    config.threads = setup.threads;
    config.carry_rows = sampler_for(setup.family).shift;
    return config;
  }

  RequestSpec spec_of(const Job& job) const {
    const ArchSpec& arch = tiny_sdar().arch();
    RequestSpec spec;
    spec.blocks = strategy_.decision(arch, sampler_, shape_, OptionValues(strategy_.options));
    for (const int32_t token : job.ignore_eos ? std::vector<int32_t>() : arch.eos_tokens)
      spec.blocks.stop_tokens[spec.blocks.stop_count++] = token;
    spec.blocks.eos_count = spec.blocks.stop_count;
    const int32_t asked = static_cast<int32_t>(job.prompt.size()) + job.max_tokens;
    spec.limit = std::min(asked, kModelLen);
    spec.limit_reason = asked <= kModelLen ? decide::kMaxTokens : decide::kContext;
    spec.sampler.temperature = job.temperature;
    spec.sampler.top_p = 1;
    spec.sampler.seed = 7;
    spec.prompt = job.prompt;
    return spec;
  }

  static std::vector<int32_t> committed_of(const Request& r) {
    const auto tokens = r.tokens();
    return {tokens.begin() + r.window.prompt_len, tokens.begin() + r.window.committed_end};
  }

  void check_committed() {
    for (size_t i = 0; i < requests_.size(); ++i) {
      const Request& r = *requests_[i];
      const std::vector<int32_t> now = committed_of(r), before = std::move(committed_[i]);
      EXPECT_TRUE(std::ranges::equal(r.tokens().first(r.spec.prompt.size()), r.spec.prompt))
          << "the prompt of request " << r.id << " changed in step " << steps;
      EXPECT_TRUE(before.size() <= now.size() &&
                  std::equal(before.begin(), before.end(), now.begin()))
          << "committed tokens of request " << r.id << " changed in step " << steps;
      EXPECT_EQ(std::ranges::count(now, r.spec.blocks.mask_token), 0)
          << "request " << r.id << " committed a mask in step " << steps;
      committed_[i] = now;
    }
  }

  EngineShape shape_;
  const Strategy& strategy_;
  const SamplerRule sampler_;
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<KvCacheManager> cache_;
  std::unique_ptr<ModelRunner> runner_;
  std::vector<Request*> requests_;  // owned by the scheduler or finished_
  std::vector<std::unique_ptr<Request>> finished_;
  std::vector<Job> jobs_;                        // of each request
  std::vector<std::vector<int32_t>> committed_;  // of each request, after the last step

 public:
  PreemptingScheduler scheduler;
  uint64_t steps = 0, preempted_by_memory = 0;
  uint64_t followed = 0;  // of the steps: without a schedule
};

}  // namespace diffulex::testing
