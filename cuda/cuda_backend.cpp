#include "cuda/cuda_backend.h"

#include <algorithm>
#include <exception>
#include <optional>

#include "backend/arch_check.h"
#include "backend/rounding.h"
#include "backend/step.h"
#include "base/error.h"
#include "cuda/forward.h"
#include "cuda/graphs.h"
#include "cuda/kernels/chain.h"
#include "cuda/step_arena.h"

namespace diffulex::cuda {
namespace {

class Stream {
 public:
  Stream() {
    check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "cudaStreamCreate");
  }
  ~Stream() { (void)cudaStreamDestroy(stream_); }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  cudaStream_t get() const { return stream_; }

 private:
  cudaStream_t stream_ = nullptr;
};

class Event {
 public:
  Event() { check(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming), "cudaEventCreate"); }
  ~Event() { (void)cudaEventDestroy(event_); }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  void record(cudaStream_t stream) const {
    check(cudaEventRecord(event_, stream), "cudaEventRecord");
  }
  void wait() const { check(cudaEventSynchronize(event_), "a step"); }

 private:
  cudaEvent_t event_ = nullptr;
};

// What a step gives back, in one block: windows, tokens, picks.
struct ResultLayout {
  size_t windows, tokens, picks, bytes;

  explicit ResultLayout(const BackendConfig& config) {
    const auto requests = static_cast<size_t>(config.max_requests);
    windows = 0;
    tokens = requests * sizeof(decide::Window);
    picks = tokens + requests * static_cast<size_t>(config.window_stride) * sizeof(int32_t);
    bytes = picks + static_cast<size_t>(config.max_head_rows) * sizeof(decide::Pick);
  }
};

class CudaBackend : public Backend {
 public:
  CudaBackend(const ArchSpec& arch, const ModelWeights& weights, const BackendConfig& config,
              const LoadProgress& progress)
      : config_(config),
        layout_(config),
        step_(arch, config, Forward::item_rows(arch)),
        model_(arch, weights, config.weight_dtype, progress),
        arena_(config),
        result_(layout_.bytes),
        chain_(static_cast<size_t>(config.max_requests) * sizeof(ChainBegin)),
        pinned_{PinnedMemory(layout_.bytes), PinnedMemory(layout_.bytes)},
        item_rows_(Forward::item_rows(arch)),
        forward_(arch, config, model_, blas_, stream_.get()) {
    std::string why;
    name_ = devices(&why).at(static_cast<size_t>(config.device)).name;
    check(cudaStreamSynchronize(stream_.get()), "the preparation of a device");
  }
  ~CudaBackend() override {
    try {
      device_.emplace(config_.device);
    } catch (const Error&) {  // the device is lost; the runtime frees what it can
    }
  }

  StepResult begin(const wire::StepPlan& plan, int ahead) override;
  StepResult next(bool more) override;
  bool worth_following(int32_t rows, int32_t heads, int32_t most) const override {
    return padding_is_free(rows, most, config_.max_tokens) &&
           (forward_.skips_missing_heads() || padding_is_free(heads, most, config_.max_head_rows));
  }
  MemoryPlan memory() const override {
    return {model_.bytes(), forward_.kv_bytes(),
            forward_.workspace_bytes() + arena_.bytes() + result_.bytes() + chain_.bytes()};
  }
  std::string kernels() const override {
    return "cuda " + name_ + ", cuBLASLt " + blas_.version() + " " +
           std::string(name_of(config_.weight_dtype));
  }

 private:
  bool recordable() const;
  void launch(bool chained);
  void start(bool chained);
  void ask();
  StepResult result();

  const BackendConfig config_;
  const ResultLayout layout_;
  std::optional<CurrentDevice> device_;  // engaged while the members below are destroyed
  std::string name_;
  Step step_;
  Stream stream_;
  Blas blas_;
  DeviceModel model_;
  StepArena arena_;
  DeviceMemory result_;
  DeviceMemory chain_;  // workspace of launch_chain
  // Results of steps by turns: the host reads one while the next one is written. The event: it is
  // there.
  PinnedMemory pinned_[2];
  Event done_[2];
  const int32_t item_rows_;
  Forward forward_;
  Graphs graphs_;

  StepView view_;               // of the last plan and of what follows it
  bool recorded_ = false;       // they are recorded
  uint64_t started_ = 0;        // steps
  uint64_t taken_ = 0;          // steps whose results were handed out
  std::exception_ptr refused_;  // why the step that was asked for could not be started
};

// A recorded step uploads as much as its shape says, and knows no row that needs a way of its own.
bool CudaBackend::recordable() const {
  const auto sorted = [](const HeadRow& row) { return decide::truncates(row.sampler); };
  return config_.graphs && step_.adjustments().empty() &&
         std::none_of(step_.head.begin(), step_.head.end(), sorted);
}

void CudaBackend::launch(bool chained) {
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
  // Rows that need candidates are not chained: there, nobody looks at the samplers.
  const std::span<const HeadRow> heads =
      chained ? std::span<const HeadRow>() : std::span<const HeadRow>(step_.head);
  if (view_.shape.rows > 0) forward_.run(view_, heads, picks);
  check(launch_decide_step(view_, picks, config_.window_stride, windows, tokens, stream),
        "the decisions of a step");
}

// Puts a step and the way of its results on the stream.
void CudaBackend::start(bool chained) {
  const cudaStream_t stream = stream_.get();
  if (recorded_)
    graphs_.run(view_.shape, chained, stream, [&] { launch(chained); });
  else
    launch(chained);
  const size_t turn = started_ % 2;
  check(cudaMemcpyAsync(pinned_[turn].as(), result_.as(), layout_.bytes, cudaMemcpyDeviceToHost,
                        stream),
        "the results of a step");
  done_[turn].record(stream);
  ++started_;
}

// The step behind the last one, while that one runs. When it cannot be started, the last one's
// result is as good as ever.
void CudaBackend::ask() {
  try {
    start(true);
  } catch (...) {
    refused_ = std::current_exception();
  }
}

// Waits for the results only: the arena is free again by then, unless another step has started.
StepResult CudaBackend::result() {
  const size_t turn = taken_ % 2;
  done_[turn].wait();
  ++taken_;
  step_.keep_carried();
  const std::byte* const host = pinned_[turn].as();
  const auto stride = static_cast<size_t>(config_.window_stride);
  return {step_.requests,
          {reinterpret_cast<const decide::Window*>(host + layout_.windows), step_.requests.size()},
          {reinterpret_cast<const int32_t*>(host + layout_.tokens), step_.requests.size() * stride},
          stride,
          {reinterpret_cast<const decide::Pick*>(host + layout_.picks), step_.head.size()}};
}

StepResult CudaBackend::begin(const wire::StepPlan& plan, int ahead) {
  const CurrentDevice current(config_.device);
  if (started_ != taken_) {  // a step whose result nobody wanted
    check(cudaStreamSynchronize(stream_.get()), "a step");
    taken_ = started_;
  }
  refused_ = nullptr;
  step_.load(plan);
  const StepShape shape = shape_of(step_, config_, item_rows_, forward_.max_items(), ahead);
  const int generation = arena_.generation();
  view_ = arena_.place(step_, shape);
  if (arena_.generation() != generation) graphs_.clear();
  arena_.pack(step_, view_);
  recorded_ = recordable();
  start(false);
  if (ahead > 0) ask();
  return result();
}

// The host follows step by step: it knows which rows the device made of the result before.
StepResult CudaBackend::next(bool more) {
  const CurrentDevice current(config_.device);
  if (refused_ != nullptr) std::rethrow_exception(std::exchange(refused_, nullptr));
  const auto* const before = pinned_[(taken_ + 1) % 2].as();
  const size_t requests = step_.requests.size();
  step_.follow({reinterpret_cast<const decide::Window*>(before + layout_.windows), requests},
               {reinterpret_cast<const int32_t*>(before + layout_.tokens),
                requests * static_cast<size_t>(config_.window_stride)});
  if (more) ask();
  return result();
}

}  // namespace

MemoryPlan plan_memory(const ArchSpec& arch, const BackendConfig& config) {
  if (config.weight_dtype == DType::kF16 || config.kv_dtype != config.weight_dtype)
    throw Error(DIFFULEX_E_UNSUPPORTED,
                "a CUDA device computes in f32 or bf16, and keeps keys and values in the same type")
        .with("option", "kv_dtype");
  check_heads(arch);
  return Forward::plan(arch, config);
}

std::unique_ptr<Backend> create(const ArchSpec& arch, const ModelWeights& weights,
                                const BackendConfig& config, const LoadProgress& progress) {
  const CurrentDevice current(config.device);
  return std::make_unique<CudaBackend>(arch, weights, config, progress);
}

}  // namespace diffulex::cuda
