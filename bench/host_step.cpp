// What a step costs on the host beside the device: schedule, plan, results, settlement, over a
// backend that computes nothing.
//
//   diffulex_bench_host [--steps N]
//
// 128 decoding requests at several depths and with several queues behind them. The backend's own
// time (the decisions, which a device makes in its kernels) is measured and left out.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "decide/multi_block.h"
#include "engine/request_record.h"
#include "strategy/strategy.h"

namespace {

using namespace diffulex;
using Clock = std::chrono::steady_clock;

constexpr int kRequests = 128;
constexpr int32_t kMask = 999;

// Fills a quarter of a block's masks in each forward.
class NullBackend : public Backend {
 public:
  StepResult begin(const wire::StepPlan& plan, int /*ahead*/) override {
    const auto start = Clock::now();
    const size_t count = plan.requests()->size() / sizeof(RequestRow);
    windows_.resize(count);
    rows_.resize(count);
    for (size_t i = 0; i < count; ++i) run(plan, i);
    StepResult result;
    result.requests = rows_;
    result.windows = windows_;
    result.tokens = tokens_;
    result.window_stride = stride_;
    seconds += std::chrono::duration<double>(Clock::now() - start).count();
    return result;
  }
  StepResult next(bool /*more*/) override { return {}; }  // never asked for
  MemoryPlan memory() const override { return {}; }
  int64_t kv_pages() const override { return 0; }
  std::string kernels() const override { return "none"; }

  double seconds = 0;

 private:
  void run(const wire::StepPlan& plan, size_t i) {
    RequestRow& row = rows_[i];
    std::memcpy(&row, plan.requests()->Data() + i * sizeof row, sizeof row);
    stride_ = static_cast<size_t>(row.blocks.buffer_blocks * row.blocks.block_size);
    tokens_.resize(std::max(tokens_.size(), (i + 1) * stride_));
    int32_t* const tokens = tokens_.data() + i * stride_;
    windows_[i] = row.window;
    if (row.window_offset < 0) return;
    std::fill_n(tokens, stride_, row.blocks.mask_token);
    const int32_t* const input =
        plan.tokens()->data() + row.first_token + static_cast<uint32_t>(row.window_offset);
    std::copy_n(input, row.window.valid * row.blocks.block_size, tokens);
    picks_.clear();
    for (uint32_t h = 0; h < row.head_count; ++h)
      picks_.push_back({static_cast<int32_t>(h % 500), h % 4 == 0 ? 0.99f : 0.1f, 0});
    decide::multi_block_step(row.blocks, windows_[i], tokens, picks_.data(), row.stored_blocks);
  }

  std::vector<RequestRow> rows_;
  std::vector<decide::Window> windows_;
  std::vector<int32_t> tokens_;
  std::vector<decide::Pick> picks_;
  size_t stride_ = 0;
};

struct Case {
  int block, buffer;
  int32_t depth;  // prompt tokens of each request
  int waiting;
};

class Host {
 public:
  explicit Host(const Case& c) : case_(c), strategy_(find_strategy("multi_bd")) {
    shape_.block_size = c.block;
    shape_.buffer_blocks = c.buffer;
    shape_.page_size = 32;
    shape_.max_model_len = c.depth + 16384;
    shape_.kv_pages = kRequests * (shape_.max_model_len / shape_.page_size + 1);
    shape_.max_requests = kRequests;
    shape_.max_batched_tokens = 1 << 18;  // prompts are computed in a few steps
    shape_.max_queue = 1 << 20;
    cache_ = strategy_.make_cache_manager(shape_);
    scheduler_ = strategy_.make_scheduler(shape_, *cache_);
    runner_ = strategy_.make_runner(backend_);
    for (int i = 0; i < kRequests; ++i) add(c.depth);
    while (decoding_ < kRequests) step();
    for (int i = 0; i < c.waiting; ++i) add(64);
  }

  // Seconds of one step beside the backend's.
  double step() {
    const double before = backend_.seconds;
    const auto start = Clock::now();
    const Schedule& schedule = scheduler_->schedule();
    runner_->run(steps_++, schedule);
    scheduler_->settle(finished_);
    const double all = std::chrono::duration<double>(Clock::now() - start).count();
    decoding_ = 0;
    for (const ScheduledRequest& s : schedule.rows) decoding_ += s.window_offset >= 0 ? 1 : 0;
    return all - (backend_.seconds - before);
  }
  bool steady() const { return finished_.empty() && scheduler_->running_count() == kRequests; }

 private:
  void add(int32_t length) {
    RequestSpec spec;
    ArchSpec arch;
    arch.mask_token = kMask;
    arch.decoding.accept_threshold = 0.9f;
    spec.blocks =
        strategy_.decision(arch, sampler_for("sdar"), shape_, OptionValues(strategy_.options));
    spec.limit = shape_.max_model_len;
    spec.limit_reason = decide::kContext;
    for (int32_t i = 0; i < length; ++i)
      spec.prompt.push_back(static_cast<int32_t>((last_id_ * 31 + static_cast<uint64_t>(i)) % 997));
    auto request =
        strategy_.make_request(++last_id_, std::move(spec), std::make_shared<RequestRecord>());
    request->attention = strategy_.attention(*request);
    request->pages.pages.reserve(static_cast<size_t>(shape_.max_model_len / shape_.page_size) + 1);
    scheduler_->add(std::move(request));
  }

  Case case_;
  EngineShape shape_;
  const Strategy& strategy_;
  NullBackend backend_;
  std::unique_ptr<KvCacheManager> cache_;
  std::unique_ptr<Scheduler> scheduler_;
  std::unique_ptr<ModelRunner> runner_;
  std::vector<std::unique_ptr<Request>> finished_;
  uint64_t steps_ = 0, last_id_ = 0;
  int decoding_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  int steps = 400;
  if (argc == 3 && std::string(argv[1]) == "--steps") steps = std::atoi(argv[2]);
  std::printf("%d decoding requests, %d steps, microseconds per step beside the backend\n",
              kRequests, steps);
  std::printf("%6s %7s %8s %8s %8s %8s\n", "block", "buffer", "depth", "waiting", "median", "p99");
  for (const Case& c : {Case{4, 4, 1024, 0}, Case{32, 1, 1024, 0}, Case{32, 4, 1024, 0},
                        Case{32, 4, 8192, 0}, Case{32, 4, 32768, 0}, Case{32, 4, 1024, 1000},
                        Case{32, 4, 1024, 10000}, Case{4, 4, 32768, 10000}}) {
    Host host(c);
    for (int i = 0; i < 50; ++i) host.step();
    std::vector<double> times;
    for (int i = 0; i < steps; ++i) times.push_back(host.step() * 1e6);
    std::sort(times.begin(), times.end());
    std::printf("%6d %7d %8d %8d %8.1f %8.1f%s\n", c.block, c.buffer, c.depth, c.waiting,
                times[times.size() / 2], times[times.size() * 99 / 100],
                host.steady() ? "" : "  (not steady)");
    std::fflush(stdout);
  }
  return 0;
}
