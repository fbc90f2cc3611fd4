// UTF-8: reading it, repairing it and bringing it to normal form C.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace diffulex::text {

inline constexpr std::string_view kReplacement = "\xEF\xBF\xBD";  // U+FFFD

struct Utf8Unit {
  enum Kind : uint8_t {
    kValid,
    kInvalid,    // a maximal subpart that nothing appended can complete
    kIncomplete  // the text ends inside a sequence that is sound so far
  };
  uint32_t code;  // of a valid unit
  uint8_t size;   // bytes, at least 1
  Kind kind;
};

// The unit that starts at `pos`, which must be inside the text.
Utf8Unit read_utf8(std::string_view text, size_t pos);

// The code point that ends right before `pos`; the text up to there must be valid and not empty.
Utf8Unit read_utf8_before(std::string_view text, size_t pos);

void append_utf8(uint32_t code, std::string& out);

// Appends `text` with every ill-formed subpart replaced by U+FFFD.
void append_repaired(std::string_view text, std::string& out);

bool is_valid_utf8(std::string_view text);

// Normal form C of valid UTF-8, in time O(n log n) for any input. What Unicode has got since 9.0 is
// neither composed nor reordered: the tokenizers package does not do so.
std::string to_nfc(std::string_view text);

// Whether to_nfc leaves this code point as it is because Unicode 9.0 does not know it.
bool is_later_than_nfc(uint32_t code);

// Unicode White_Space.
bool is_white_space(uint32_t code);

// What a regex calls a word character: Alphabetic, marks, decimal digits, connectors and joiners.
bool is_word(uint32_t code);

}  // namespace diffulex::text
