// How backends whose launches have fixed sizes round the sizes of a step.
#pragma once

#include <algorithm>
#include <cstdint>

namespace diffulex {

// Small numbers to a power of two, larger ones to an eighth of the power of two below; never above
// limit.
inline int32_t rounded_size(int64_t n, int64_t limit) {
  int64_t step = 8;
  while (step * 16 <= n) step *= 2;
  if (n <= 64) {
    step = 1;
    while (step < n) step *= 2;
    return static_cast<int32_t>(std::min(n == 0 ? 0 : step, limit));
  }
  return static_cast<int32_t>(std::min((n + step - 1) / step * step, limit));
}

// Rows of a step up to which its products take the time of reading the weights, whatever they are.
inline constexpr int32_t kRowsForFree = 128;

// Steps of `rows` rows that are launched as if they had `most`: whether that costs nothing.
inline bool padding_is_free(int32_t rows, int32_t most, int32_t limit) {
  return most <= kRowsForFree || rounded_size(rows, limit) == rounded_size(most, limit);
}

}  // namespace diffulex
