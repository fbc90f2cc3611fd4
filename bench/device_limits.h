// What the card can do, measured in the same run by its own clock, and the floors that follow.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "random_model.h"
#include "step_driver.h"

namespace diffulex_bench {

struct ProductRate {
  int64_t rows, n, k;
  double operations_per_ms;
};

struct DeviceLimits {
  double bytes_per_ms = 0;  // of a large copy, read and written
  std::vector<ProductRate> products;

  double operations_per_ms() const;  // of the fastest product
};

// numbers: random ones (zeros would multiply faster); repeated as often as needed. Throws
// diffulex::Error.
DeviceLimits measure_limits(std::span<const uint16_t> numbers);

// The least that work can take: bytes that must be read once over the copy rate, operations over
// the product rate; the larger counts.
struct Floor {
  double bytes_ms = 0, operations_ms = 0;

  double ms() const { return bytes_ms > operations_ms ? bytes_ms : operations_ms; }
  const char* bound() const { return bytes_ms > operations_ms ? "bytes" : "operations"; }
};
Floor floor_of(const ModelShape& model, const StepWork& work, const DeviceLimits& limits);

}  // namespace diffulex_bench
