#include "cuda/decide_kernel.h"

#include <cuda_runtime.h>

#include "cuda/decide_body.h"

namespace diffulex::cuda {
namespace {

__global__ void decide_kernel(DecideBatch batch) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i < batch.count) decide_one(batch, i);
}

// The selection from candidates has no caller on the device yet; this keeps it compiling there.
__global__ void candidates_kernel(const decide::Candidate* sorted, int count, decide::RowSums row, decide::SamplerParams sampler,
                                  decide::Pick* out) {
  const int kept = decide::kept_candidates(sorted, count, true, row, sampler);
  *out = decide::pick_from_candidates(sorted, kept, row, sampler, 0, 0);
}

}  // namespace

int launch_decide(const DecideBatch& batch) {
  constexpr int kThreads = 64;
  decide_kernel<<<(batch.count + kThreads - 1) / kThreads, kThreads>>>(batch);
  (void)candidates_kernel;
  return static_cast<int>(cudaGetLastError());
}

}  // namespace diffulex::cuda
