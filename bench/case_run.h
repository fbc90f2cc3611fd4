// One case on the device: its steps timed, or traced.
#pragma once

#include <cstdint>
#include <span>

#include "activity.h"
#include "cupti_trace.h"
#include "device_limits.h"
#include "engine_case.h"

namespace diffulex_bench {

struct CaseTimes {
  double load_s = 0;          // upload of the weights
  int steps = 0;              // full-window steps that were timed
  double ms = 0, p90_ms = 0;  // of a step by the host's clock
  double host_us = 0;         // of a step beside execute(); median
  double head_rows = 0;       // mean
  Floor floor;                // mean
};

// Of `engine`: what an engine is configured with beside the case.
struct EngineSettings {
  int device_steps = 8;
  bool batch_invariant = false;
};

CaseTimes time_case(const EngineCase& c, const EngineSettings& engine,
                    std::span<const uint16_t> numbers, const DeviceLimits& limits, int steps);
// Kernels of steps that the host starts one by one; the idle share of steps as they were timed.
TraceSummary trace_case(const EngineCase& c, const EngineSettings& engine,
                        std::span<const uint16_t> numbers, CuptiTrace& trace, int steps);

}  // namespace diffulex_bench
