// Runs the decision functions of src/decide on the device, one request per thread. The CUDA backend's step kernels will call the
// same functions; until then this proves that they compile and decide the same there.
#pragma once

#include "decide/select.h"
#include "decide/state.h"
#include "decide/visibility.h"

namespace diffulex::cuda {

// One request of a batch; all pointers are device memory.
struct DecideBatch {
  int count;
  int stride;                               // tokens of a window
  int tiles;                                // vocabulary tiles per row
  const decide::MultiBlockParams* params;   // [count]
  decide::Window* windows;                  // [count], updated
  int32_t* tokens;                          // [count, stride], updated
  const decide::TilePartial* partials;      // [count, stride, tiles], one row per window position
  const decide::SamplerParams* samplers;    // [count]
  decide::Pick* picks;                      // [count, stride], scratch
  const decide::AttentionRule* rules;       // [count]
  decide::KeyRange* ranges;                 // [count], out: keys of the window's first row
  float* draws;                             // [count], out
};

// Launches the batch on the default stream; returns a cudaError_t.
int launch_decide(const DecideBatch& batch);

}  // namespace diffulex::cuda
