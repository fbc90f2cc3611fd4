#include "step_driver.h"

#include <algorithm>
#include <exception>

#include "engine/request_record.h"

namespace diffulex_bench {
namespace {

using namespace diffulex;

// Keys that block-causal rows [first, first + rows) see, summed over the rows.
int64_t keys_of(int64_t first, int64_t rows, int64_t block) {
  int64_t keys = 0;
  for (int64_t at = first, end = first + rows; at < end;) {
    const int64_t block_end = (at / block + 1) * block;
    const int64_t stop = std::min(block_end, end);
    keys += (stop - at) * block_end;
    at = stop;
  }
  return keys;
}

void count(const Schedule& schedule, StepWork& work) {
  for (const ScheduledRequest& s : schedule.rows) {
    if (s.request == nullptr) continue;
    work.rows += s.rows;
    work.head_rows += s.window_offset < 0 ? 0 : s.request->head_rows();
    work.keys += keys_of(s.request->cached, s.rows, s.request->block_size());
    work.context += s.request->cached;
  }
}

}  // namespace

StepDriver::StepDriver(Backend& backend, const ArchSpec& arch, const EngineShape& shape)
    : arch_(arch),
      shape_(shape),
      strategy_(find_strategy("multi_bd")),
      backend_(backend),
      cache_(strategy_.make_cache_manager(shape_)),
      scheduler_(strategy_.make_scheduler(shape_, *cache_)),
      runner_(strategy_.make_runner(backend_)) {}

StepDriver::~StepDriver() {
  try {
    if (ahead_ > 0) runner_->drain();
  } catch (const std::exception&) {  // the next step says so
  }
}

// Greedy, and nothing is ever sure enough: one token a step, so windows stay full for long.
void StepDriver::add(int prompt_tokens) {
  OptionValues options(strategy_.options);
  options.set("bench", "add_block_threshold", "0");
  options.set("bench", "accept_threshold", "1");
  RequestSpec spec;
  spec.blocks = strategy_.decision(arch_, sampler_for("sdar"), shape_, options);
  spec.limit = shape_.max_model_len;
  spec.limit_reason = decide::kContext;
  spec.sampler.top_p = 1;
  const uint64_t id = ++last_id_;
  for (int i = 0; i < prompt_tokens; ++i)
    spec.prompt.push_back(
        static_cast<int32_t>((id * 7919 + static_cast<uint64_t>(i) * 31) % 30000));
  auto request = strategy_.make_request(id, std::move(spec), std::make_shared<RequestRecord>());
  request->attention = strategy_.attention(*request);
  scheduler_->add(std::move(request));
}

// Everything that is timed, and nothing else but counting.
bool StepDriver::drive(StepWork& work) {
  const bool follows = ahead_ > 0;
  if (follows && !scheduler_->follow()) {
    runner_->drain();
    ahead_ = 0;
    return false;
  }
  if (!follows) schedule_ = &scheduler_->schedule();
  if (schedule_->rows.empty()) return false;
  count(*schedule_, work);
  if (follows) {
    runner_->next(*schedule_, --ahead_ > 0);
  } else {
    const int most = shape_.device_steps - 1;
    const bool offered = most > 0 && runner_->worth_following(*schedule_, most);
    ahead_ = offered ? scheduler_->reserve_ahead(most) : 0;
    runner_->run(steps_++, *schedule_, ahead_);
  }
  for (const ScheduledRequest& s : schedule_->rows)
    work.revealed += s.window_offset < 0 ? 0 : s.request->window.revealed;
  scheduler_->settle(finished_);
  if (ahead_ == 0) scheduler_->return_spare_pages();
  return true;
}

DrivenStep StepDriver::step() {
  DrivenStep result;
  const double before = backend_.milliseconds();
  const auto start = std::chrono::steady_clock::now();
  if (!drive(result.work)) return result;
  const std::chrono::duration<double, std::milli> all = std::chrono::steady_clock::now() - start;
  result.host_ms = all.count();
  result.execute_ms = backend_.milliseconds() - before;
  return result;
}

}  // namespace diffulex_bench
