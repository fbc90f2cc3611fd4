// Recorded steps: the launches of a shape, replayed as one.
#pragma once

#include <cuda_runtime_api.h>

#include <functional>
#include <map>
#include <utility>

#include "cuda/kernels/step.h"

namespace diffulex::cuda {

// A shape that was not prepared is recorded when it comes for the second time: the first one has
// made everything that a recording must not make (kernels of products, memory). Thread class: the
// backend's owner thread.
class Graphs {
 public:
  Graphs() = default;
  ~Graphs();
  Graphs(const Graphs&) = delete;
  Graphs& operator=(const Graphs&) = delete;

  static constexpr size_t kMostShapes = 256;  // beyond it all are forgotten: steady work has fewer

  // Runs `launch`, which puts a step of this shape on the stream, or its recording. chained: one
  // that the device makes out of the step before.
  void run(const StepShape& shape, bool chained, cudaStream_t stream,
           const std::function<void()>& launch);
  // Records `launch` without running it, unless that was done; what it needs was made by a step of
  // the same shape. Returns 1 if it did.
  int prepare(const StepShape& shape, bool chained, cudaStream_t stream,
              const std::function<void()>& launch);
  // What was recorded is void: memory has moved.
  void clear();

 private:
  struct Entry {
    cudaGraphExec_t graph = nullptr;  // null: seen once
  };
  static cudaGraphExec_t record(cudaStream_t stream, const std::function<void()>& launch);

  std::map<std::pair<StepShape, bool>, Entry> entries_;  // by shape and `chained`
};

}  // namespace diffulex::cuda
