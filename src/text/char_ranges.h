// Unicode's letters (\p{L}), numbers (\p{N}) and word characters (\w), of the version that the
// regular expressions of the tokenizers package have: 16.0.
#pragma once

#include <cstdint>
#include <span>

namespace diffulex::text {

struct CharRange {
  uint32_t first, last;
};

// In ascending order.
std::span<const CharRange> letter_ranges();
std::span<const CharRange> number_ranges();
std::span<const CharRange> word_ranges();  // without the joiners

}  // namespace diffulex::text
