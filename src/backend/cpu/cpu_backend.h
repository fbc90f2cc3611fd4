#pragma once

#include <atomic>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "backend/cpu/candidates.h"
#include "backend/cpu/forward.h"

namespace diffulex::cpu {

// execute() from one thread at a time; the team's other threads sleep between steps.
class CpuBackend : public Backend {
 public:
  CpuBackend(const ArchSpec& arch, const ModelWeights& weights, const BackendConfig& config, const LoadProgress& progress);

  StepResult execute(const wire::StepPlan& plan) override;
  MemoryPlan memory() const override { return plan_memory(arch_, config_); }
  std::string kernels() const override;

  // For tests: all logits of head row `row` of the last step.
  std::vector<float> logits_of(int row);

 private:
  void read_plan(const wire::StepPlan& plan);
  void prepare_products();
  void pick_wide_row(Step& step, int row);
  StepResult decide_all();

  const ArchSpec arch_;
  const BackendConfig config_;
  Team team_;
  Matmul matmul_;
  Workspace work_;
  PackedModel model_;
  std::vector<CandidateLists> candidates_;  // [members]
  std::vector<uint8_t> wide_;               // [max_head_rows]
  std::vector<std::atomic<int32_t>> claims_;
  std::vector<float> whole_row_;            // [vocabulary], when a wide row was seen

  // The plan at work, borrowed.
  std::span<const RequestRow> requests_;
  std::span<const int32_t> tokens_;
  std::span<const int32_t> head_rows_;
};

}  // namespace diffulex::cpu
