// The CPU backend with its insides, for the backend's own tests and benchmarks.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "backend/cpu/forward.h"

namespace diffulex::cpu {

// Thread class: as Backend.
class CpuBackend final : public Backend {
 public:
  CpuBackend(const ArchSpec& arch, const ModelWeights& weights, const BackendConfig& config,
             const LoadProgress& progress);

  StepResult begin(const wire::StepPlan& plan, int /*ahead*/) override {
    return execute_tapped(plan, nullptr);
  }
  StepResult next(bool more) override;
  MemoryPlan memory() const override;
  int64_t kv_pages() const override { return config_.kv_pages; }
  std::string kernels() const override;

  // As execute(); logits, when set, gets the raw logits [head rows, vocabulary].
  StepResult execute_tapped(const wire::StepPlan& plan, float* logits);
  const Forward& forward() const { return *forward_; }

 private:
  StepResult run(float* logits);
  void decide_requests();

  const BackendConfig config_;
  Team team_;
  Matmul matmul_;
  std::unique_ptr<PackedModel> model_;
  std::unique_ptr<Forward> forward_;
  Step step_;
  std::vector<decide::Pick> picks_;      // [max_head_rows]
  std::vector<decide::Window> windows_;  // [max_requests]
  std::vector<int32_t> tokens_;          // [max_requests, window_stride]
};

}  // namespace diffulex::cpu
