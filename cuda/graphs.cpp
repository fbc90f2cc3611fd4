#include "cuda/graphs.h"

#include "cuda/error.h"

namespace diffulex::cuda {

Graphs::~Graphs() { clear(); }

void Graphs::clear() {
  for (auto& [key, entry] : entries_)
    if (entry.graph != nullptr) (void)cudaGraphExecDestroy(entry.graph);
  entries_.clear();
}

void Graphs::run(const StepShape& shape, bool chained, cudaStream_t stream,
                 const std::function<void()>& launch) {
  const auto found = entries_.find({shape, chained});
  if (found == entries_.end()) {
    if (entries_.size() >= kMostShapes) {
      check(cudaStreamSynchronize(stream), "a step");  // none of them is under way
      clear();
    }
    launch();
    entries_.emplace(std::pair(shape, chained), Entry{});
    return;
  }
  Entry& entry = found->second;
  if (entry.graph == nullptr) entry.graph = record(stream, launch);
  check(cudaGraphLaunch(entry.graph, stream), "the launch of a recorded step");
}

int Graphs::prepare(const StepShape& shape, bool chained, cudaStream_t stream,
                    const std::function<void()>& launch) {
  if (entries_.size() >= kMostShapes) return 0;
  Entry& entry = entries_[{shape, chained}];
  if (entry.graph != nullptr) return 0;
  entry.graph = record(stream, launch);
  return 1;
}

cudaGraphExec_t Graphs::record(cudaStream_t stream, const std::function<void()>& launch) {
  check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "recording a step");
  cudaGraph_t graph = nullptr;
  try {
    launch();
  } catch (...) {
    (void)cudaStreamEndCapture(stream, &graph);
    if (graph != nullptr) (void)cudaGraphDestroy(graph);
    throw;
  }
  check(cudaStreamEndCapture(stream, &graph), "recording a step");
  cudaGraphExec_t executable = nullptr;
  const cudaError_t status = cudaGraphInstantiate(&executable, graph, 0);
  (void)cudaGraphDestroy(graph);
  check(status, "recording a step");
  return executable;
}

}  // namespace diffulex::cuda
