// The way of a step to the device: one pinned arena, one asynchronous copy.
#pragma once

#include <cuda_runtime_api.h>

#include "backend/step.h"
#include "cuda/kernels/step.h"
#include "cuda/memory.h"

namespace diffulex::cuda {

// The shape of a step and of up to `ahead` steps behind it: its sizes, rounded up to few values, so
// that steps that differ little share launches. Within the limits of config; item_rows: of an
// attention item, max_items: of any step.
StepShape shape_of(const Step& step, const BackendConfig& config, int32_t item_rows,
                   int32_t max_items, int ahead);

// Thread class: the backend's owner thread. Buffers are sized once, for the largest step; lists of
// logit adjustments, which nobody can foresee, may make them grow.
class StepArena {
 public:
  explicit StepArena(const BackendConfig& config);

  // Where a step of this shape lies. Of one shape always the same, until generation() changes.
  StepView place(const Step& step, const StepShape& shape);
  // Writes the step into the pinned side. The copy of the last step must have ended.
  void pack(const Step& step, const StepView& view);
  // Starts the copy of a packed step.
  void upload(cudaStream_t stream) const;

  uint64_t bytes() const { return device_.bytes(); }
  int generation() const { return generation_; }  // places are others than before

 private:
  PinnedMemory pinned_;
  DeviceMemory device_;
  size_t used_ = 0;  // bytes of the step that has its place
  int generation_ = 0;
};

}  // namespace diffulex::cuda
