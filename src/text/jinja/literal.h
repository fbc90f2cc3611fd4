// Strings and numbers as templates write them.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace diffulex::jinja {

struct Literal {
  std::string value;  // of a string; a number in base ten
  size_t size = 0;    // bytes of the source
  bool is_real = false;
};

// The source begins with a quote. Errors: not closed, a broken escape.
Literal read_string_literal(std::string_view source);

// The source begins with a digit. after_point: "a.1.5" asks for element 5 of element 1.
Literal read_number_literal(std::string_view source, bool after_point);

}  // namespace diffulex::jinja
