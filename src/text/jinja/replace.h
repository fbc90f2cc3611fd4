// Replacing parts of a text, as filter and as method.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "text/jinja/budget.h"

namespace diffulex::jinja {

struct Replacement {
  std::string_view from, to;
  int64_t limit;  // negative: everywhere
};

// As str.replace: an empty `from` stands in front of each character and at the end.
std::string replace(Budget& budget, std::string_view text, const Replacement& replacement);

}  // namespace diffulex::jinja
