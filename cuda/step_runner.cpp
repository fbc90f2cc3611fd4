#include "cuda/step_runner.h"

#include <algorithm>
#include <utility>

#include "backend/rounding.h"

namespace diffulex::cuda {

StepRunner::StepRunner(const ArchSpec& arch, const BackendConfig& config, const DeviceModel& model)
    : arch_(arch),
      config_(config),
      layout_(config),
      arena_(config),
      result_(layout_.bytes),
      chain_(static_cast<size_t>(config.max_requests) * sizeof(ChainBegin)),
      pinned_{PinnedMemory(layout_.bytes), PinnedMemory(layout_.bytes)},
      item_rows_(Forward::item_rows(arch)),
      forward_(arch, config, model, blas_, stream_.get()) {
  check(cudaStreamSynchronize(stream_.get()), "the preparation of a device");
}

void StepRunner::place_cache(int64_t pages) {
  graphs_.clear();
  forward_.place_cache(pages);
  kv_pages_ = pages;
  forget_pages();
}

// A step that may name the pages that there are.
Step StepRunner::make_step() const {
  BackendConfig config = config_;
  config.kv_pages = kv_pages_;
  return Step(arch_, config, item_rows_);
}

void StepRunner::forget_pages() { step_.emplace(make_step()); }

bool StepRunner::worth_following(int32_t rows, int32_t heads, int32_t most) const {
  return padding_is_free(rows, most, config_.max_tokens) &&
         (forward_.skips_missing_heads() || padding_is_free(heads, most, config_.max_head_rows));
}

uint64_t StepRunner::workspace_bytes() const {
  return forward_.workspace_bytes() + arena_.bytes() + result_.bytes() + chain_.bytes();
}

// A recorded step uploads as much as its shape says, and knows no row that needs a way of its own.
bool StepRunner::recordable() const {
  const auto sorted = [](const HeadRow& row) { return decide::truncates(row.sampler); };
  return config_.graphs && step_->adjustments().empty() &&
         std::none_of(step_->head.begin(), step_->head.end(), sorted);
}

void StepRunner::launch(std::span<const HeadRow> heads, bool chained) {
  const cudaStream_t stream = stream_.get();
  std::byte* const out = result_.as();
  auto* const picks = reinterpret_cast<decide::Pick*>(out + layout_.picks);
  auto* const windows = reinterpret_cast<decide::Window*>(out + layout_.windows);
  auto* const tokens = reinterpret_cast<int32_t*>(out + layout_.tokens);
  if (chained)
    check(
        launch_chain({windows, tokens, config_.window_stride, item_rows_, chain_.as<ChainBegin>()},
                     view_, stream),
        "the way to the next step");
  else
    arena_.upload(stream);
  if (view_.shape.rows > 0) forward_.run(view_, heads, picks);
  check(launch_decide_step(view_, picks, config_.window_stride, windows, tokens, stream),
        "the decisions of a step");
}

// Puts a step and the way of its results on the stream.
void StepRunner::put(bool chained) {
  const cudaStream_t stream = stream_.get();
  // Rows that need candidates are not chained: there, nobody looks at the samplers.
  const std::span<const HeadRow> heads =
      chained ? std::span<const HeadRow>() : std::span<const HeadRow>(step_->head);
  if (recorded_)
    graphs_.run(view_.shape, chained, stream, [&] { launch(heads, chained); });
  else
    launch(heads, chained);
  const size_t turn = started_ % 2;
  check(cudaMemcpyAsync(pinned_[turn].as(), result_.as(), layout_.bytes, cudaMemcpyDeviceToHost,
                        stream),
        "the results of a step");
  done_[turn].record(stream);
  ++started_;
}

// The step behind the last one, while that one runs. When it cannot be started, the last one's
// result is as good as ever.
void StepRunner::ask() {
  try {
    put(true);
  } catch (...) {
    refused_ = std::current_exception();
  }
}

// Waits for the results only: the arena is free again by then, unless another step has started.
StepResult StepRunner::result() {
  const size_t turn = taken_ % 2;
  done_[turn].wait();
  ++taken_;
  step_->keep_carried();
  const std::byte* const host = pinned_[turn].as();
  const auto stride = static_cast<size_t>(config_.window_stride);
  return {
      step_->requests,
      {reinterpret_cast<const decide::Window*>(host + layout_.windows), step_->requests.size()},
      {reinterpret_cast<const int32_t*>(host + layout_.tokens), step_->requests.size() * stride},
      stride,
      {reinterpret_cast<const decide::Pick*>(host + layout_.picks), step_->head.size()}};
}

void StepRunner::start(const wire::StepPlan& plan, int ahead) {
  if (started_ != taken_) {  // a step whose result nobody wanted
    check(cudaStreamSynchronize(stream_.get()), "a step");
    taken_ = started_;
  }
  refused_ = nullptr;
  step_->load(plan);
  const StepShape shape = shape_of(*step_, config_, item_rows_, forward_.max_items(), ahead);
  const int generation = arena_.generation();
  view_ = arena_.place(*step_, shape);
  if (arena_.generation() != generation) graphs_.clear();
  arena_.pack(*step_, view_);
  recorded_ = recordable();
  put(false);
  if (ahead > 0) ask();
}

StepResult StepRunner::begin(const wire::StepPlan& plan, int ahead) {
  start(plan, ahead);
  return result();
}

// The host follows step by step: it knows which rows the device made of the result before.
StepResult StepRunner::next(bool more) {
  if (refused_ != nullptr) std::rethrow_exception(std::exchange(refused_, nullptr));
  const auto* const before = pinned_[(taken_ + 1) % 2].as();
  const size_t requests = step_->requests.size();
  step_->follow({reinterpret_cast<const decide::Window*>(before + layout_.windows), requests},
                {reinterpret_cast<const int32_t*>(before + layout_.tokens),
                 requests * static_cast<size_t>(config_.window_stride)});
  if (more) ask();
  return result();
}

// The recorded copy reads the arena, whose place for a shape is always the same; what lies there
// now belongs to a step that may run.
int StepRunner::record(const wire::StepPlan& plan, int ahead) {
  if (!config_.graphs) return 0;
  Step step = make_step();
  step.load(plan);
  const StepView view = std::exchange(
      view_, arena_.place(step, shape_of(step, config_, item_rows_, forward_.max_items(), ahead)));
  int count = 0;
  for (const bool chained : {false, true})
    if (!chained || ahead > 0)
      count += graphs_.prepare(view_.shape, chained, stream_.get(), [&] { launch({}, chained); });
  view_ = view;
  return count;
}

}  // namespace diffulex::cuda
