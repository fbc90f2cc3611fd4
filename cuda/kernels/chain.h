// The step behind a step, made on the device out of what the one before left there.
#pragma once

#include <cuda_runtime_api.h>

#include "cuda/kernels/step.h"

namespace diffulex::cuda {

// Where a request's part of the step's lists begins.
struct ChainBegin {
  int32_t item, carry;
};

struct ChainArgs {
  const decide::Window* windows;  // [requests], after the step before
  const int32_t* tokens;          // [requests, stride], likewise
  int32_t stride;
  int32_t item_rows;   // query rows of an item at most
  ChainBegin* begins;  // [requests], workspace
};

// Turns `step` into the next one where it lies: diffulex::follow for every request, and the lists
// that the host spells out for other steps. Its shape must hold the next step.
int launch_chain(const ChainArgs& args, const StepView& step, cudaStream_t stream);

}  // namespace diffulex::cuda
