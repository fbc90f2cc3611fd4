// What the device benchmark found, as a table and as JSON.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "case_run.h"
#include "first_token.h"

namespace diffulex_bench {

struct CaseResult {
  EngineCase c;
  CaseTimes times;
  std::optional<TraceSummary> trace;  // none: not traced
};

struct GpuReport {
  std::string device, kernels;
  DeviceLimits limits;
  std::vector<CaseResult> cases;
  std::vector<FirstToken> first_tokens;
  std::string no_trace;  // why nothing was traced; empty when it was
};

void print(const GpuReport& report);
nlohmann::ordered_json to_json(const GpuReport& report);

}  // namespace diffulex_bench
