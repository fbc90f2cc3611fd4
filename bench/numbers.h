// Percentiles of measurements.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

namespace diffulex_bench {

// share: 0..1. 0 when there are no values.
inline double percentile(std::vector<double> values, double share) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  return values[static_cast<size_t>(std::lround(share * static_cast<double>(values.size() - 1)))];
}

inline double median(std::vector<double> values) { return percentile(std::move(values), 0.5); }

}  // namespace diffulex_bench
