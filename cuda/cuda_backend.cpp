#include "cuda/cuda_backend.h"

#include <optional>

#include "backend/arch_check.h"
#include "base/error.h"
#include "cuda/step_runner.h"
#include "cuda/warm_up.h"

namespace diffulex::cuda {
namespace {

class CudaBackend : public Backend {
 public:
  CudaBackend(const ArchSpec& arch, const ModelWeights& weights, const BackendConfig& config,
              const LoadProgress& progress)
      : config_(config),
        model_(arch, weights, config.weight_dtype, progress),
        runner_(arch, config, model_),
        graph_bytes_(warm_up(arch, config, runner_)) {
    std::string why;
    name_ = devices(&why).at(static_cast<size_t>(config.device)).name;
  }
  ~CudaBackend() override {
    try {
      device_.emplace(config_.device);
    } catch (const Error&) {  // the device is lost; the runtime frees what it can
    }
  }

  StepResult begin(const wire::StepPlan& plan, int ahead) override {
    const CurrentDevice current(config_.device);
    return runner_.begin(plan, ahead);
  }
  StepResult next(bool more) override {
    const CurrentDevice current(config_.device);
    return runner_.next(more);
  }
  bool worth_following(int32_t rows, int32_t heads, int32_t most) const override {
    return runner_.worth_following(rows, heads, most);
  }
  int64_t kv_pages() const override { return runner_.kv_pages(); }
  MemoryPlan memory() const override {
    return {model_.bytes(), runner_.kv_bytes(), runner_.workspace_bytes() + graph_bytes_};
  }
  std::string kernels() const override {
    return "cuda " + name_ + ", cuBLASLt " + runner_.blas_version() + " " +
           std::string(name_of(config_.weight_dtype));
  }

 private:
  const BackendConfig config_;
  std::optional<CurrentDevice> device_;  // engaged while the members below are destroyed
  std::string name_;
  DeviceModel model_;
  StepRunner runner_;
  const uint64_t graph_bytes_;  // kept for recordings
};

}  // namespace

MemoryPlan plan_memory(const ArchSpec& arch, const BackendConfig& config) {
  if (config.weight_dtype == DType::kF16 || config.kv_dtype != config.weight_dtype)
    throw Error(DIFFULEX_E_UNSUPPORTED,
                "a CUDA device computes in f32 or bf16, and keeps keys and values in the same type")
        .with("option", "kv_dtype");
  check_heads(arch);
  const CurrentDevice current(config.device);
  return Forward::plan(arch, config);
}

std::unique_ptr<Backend> create(const ArchSpec& arch, const ModelWeights& weights,
                                const BackendConfig& config, const LoadProgress& progress) {
  const CurrentDevice current(config.device);
  return std::make_unique<CudaBackend>(arch, weights, config, progress);
}

}  // namespace diffulex::cuda
