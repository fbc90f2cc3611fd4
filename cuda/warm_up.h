// What a backend does before its first step: it runs the largest ones, measures what they left of
// the device's memory, gives that to the KV cache, and records the steps that will recur.
#pragma once

#include "cuda/step_runner.h"

namespace diffulex::cuda {

// Leaves the runner with its cache. Returns the bytes kept free for recordings, those made here
// included. Throws Error(DIFFULEX_E_DEVICE_MEMORY) with numbers when config.kv_pages_least do not
// fit.
uint64_t warm_up(const ArchSpec& arch, const BackendConfig& config, StepRunner& runner);

}  // namespace diffulex::cuda
