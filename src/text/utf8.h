// UTF-8 as the WHATWG encoding standard reads it: each maximal invalid piece is one U+FFFD.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace diffulex::text {

inline constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

struct Utf8Unit {
  size_t length;  // bytes it takes, at least 1
  bool valid;
  bool cut;  // the text ends inside what could have become a character
};

// The unit at the start of a non-empty text.
Utf8Unit next_unit(std::string_view text);
// The text with every invalid piece replaced.
std::string to_valid_utf8(std::string_view text);
void append_code_point(char32_t c, std::string& out);

}  // namespace diffulex::text
