// Steps that no request asked for: what a backend runs while it is made, so that everything that it
// loads or allocates with its first steps is there before the KV cache takes what is left.
#pragma once

#include <flatbuffers/flatbuffers.h>

#include <vector>

#include "backend/backend.h"

namespace diffulex {

struct WarmUpStep {
  int32_t requests = 0;
  int32_t rows = 0;       // of each
  int32_t context = 0;    // cached positions of the first one; the others have none
  bool denoises = false;  // the rows are a window full of masks; else a piece of a prompt
  float temperature = 0;
};

// The largest steps that there may be, of each kind, and the smallest one.
std::vector<WarmUpStep> warm_up_steps(const BackendConfig& config);

// A denoising step of so many requests whose windows are full and fresh.
WarmUpStep decode_step(const BackendConfig& config, int32_t requests);

// The step as a plan: it stores nothing, and every position that it reads lies in page 0.
flatbuffers::DetachedBuffer warm_up_plan(const ArchSpec& arch, const BackendConfig& config,
                                         const WarmUpStep& step);

}  // namespace diffulex
