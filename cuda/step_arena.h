// The way of a step to the device: one pinned arena, one asynchronous copy.
#pragma once

#include <cuda_runtime_api.h>

#include "backend/step.h"
#include "cuda/kernels/step.h"
#include "cuda/memory.h"

namespace diffulex::cuda {

// Thread class: the backend's owner thread. Buffers are sized once, for the largest step; lists of
// logit adjustments, which nobody can foresee, may make them grow.
class StepArena {
 public:
  explicit StepArena(const BackendConfig& config);

  // Packs the step and starts its copy. The view is valid on the stream until the next call, which
  // must not come before the copy has ended.
  StepView upload(const Step& step, cudaStream_t stream);
  uint64_t bytes() const { return device_.bytes(); }

 private:
  PinnedMemory pinned_;
  DeviceMemory device_;
};

}  // namespace diffulex::cuda
