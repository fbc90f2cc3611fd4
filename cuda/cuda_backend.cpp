#include "cuda/cuda_backend.h"

#include <algorithm>
#include <optional>

#include "backend/arch_check.h"
#include "backend/step.h"
#include "base/error.h"
#include "cuda/forward.h"
#include "cuda/graphs.h"
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
        pinned_result_(layout_.bytes),
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

  StepResult execute(const wire::StepPlan& plan) override;
  MemoryPlan memory() const override {
    return {model_.bytes(), forward_.kv_bytes(),
            forward_.workspace_bytes() + arena_.bytes() + result_.bytes()};
  }
  std::string kernels() const override {
    return "cuda " + name_ + ", cuBLASLt " + blas_.version() + " " +
           std::string(name_of(config_.weight_dtype));
  }

 private:
  bool recordable() const;
  void launch(const StepView& view);

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
  PinnedMemory pinned_result_;
  Forward forward_;
  Graphs graphs_;
};

// A recorded step uploads as much as its shape says, and knows no row that needs a way of its own.
bool CudaBackend::recordable() const {
  const auto sorted = [](const HeadRow& row) { return decide::truncates(row.sampler); };
  return config_.graphs && step_.adjustments().empty() &&
         std::none_of(step_.head.begin(), step_.head.end(), sorted);
}

void CudaBackend::launch(const StepView& view) {
  const cudaStream_t stream = stream_.get();
  std::byte* const out = result_.as();
  auto* const picks = reinterpret_cast<decide::Pick*>(out + layout_.picks);
  arena_.upload(stream);
  if (view.shape.rows > 0) forward_.run(view, step_.head, picks);
  check(launch_decide_step(view, picks, config_.window_stride,
                           reinterpret_cast<decide::Window*>(out + layout_.windows),
                           reinterpret_cast<int32_t*>(out + layout_.tokens), stream),
        "the decisions of a step");
  check(cudaMemcpyAsync(pinned_result_.as(), out, layout_.bytes, cudaMemcpyDeviceToHost, stream),
        "the results of a step");
}

// The host waits for the results only: the arena is free again by then.
StepResult CudaBackend::execute(const wire::StepPlan& plan) {
  const CurrentDevice current(config_.device);
  step_.load(plan);
  const StepShape shape = shape_of(step_, config_, forward_.max_items());
  const int generation = arena_.generation();
  const StepView view = arena_.place(step_, shape);
  if (arena_.generation() != generation) graphs_.clear();
  arena_.pack(step_, view);
  if (recordable())
    graphs_.run(shape, stream_.get(), [&] { launch(view); });
  else
    launch(view);
  check(cudaStreamSynchronize(stream_.get()), "a step");
  step_.keep_carried();
  const std::byte* const host = pinned_result_.as();
  const auto stride = static_cast<size_t>(config_.window_stride);
  return {{reinterpret_cast<const decide::Window*>(host + layout_.windows), step_.requests.size()},
          {reinterpret_cast<const int32_t*>(host + layout_.tokens), step_.requests.size() * stride},
          stride,
          {reinterpret_cast<const decide::Pick*>(host + layout_.picks), step_.head.size()}};
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
