// What a device did, and when: the records of a trace and their summary.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace diffulex_bench {

struct Activity {
  std::string name;             // of a kernel as the compiler spells it, or "copy ..."
  uint64_t start = 0, end = 0;  // ns
};

struct KernelShare {
  std::string name;
  double us_per_step = 0;  // by which it put off the end of what had been done before
  double count_per_step = 0;
};

struct TraceSummary {
  int steps = 0;
  double device_ms = 0;  // of a step, from its first activity's start to its last one's end; median
  double busy_ms = 0;    // of a step, in which something ran; mean
  double idle_share = 0;  // of the time from the first step's start to the last one's end
  std::vector<KernelShare> kernels;   // most expensive first
  std::vector<KernelShare> sequence;  // of the last step, every kernel as it ended
};

// "attention" of "void diffulex::cuda::(anonymous namespace)::attention<32>(Args)".
std::string function_name(const std::string& symbol);

// begins: when each step began on the host, in the trace's clock, ascending. What starts before the
// first one belongs to no step. Kernels may overlap: busy is the union of their intervals.
TraceSummary summarize(const std::vector<Activity>& activities,
                       const std::vector<uint64_t>& begins);

}  // namespace diffulex_bench
