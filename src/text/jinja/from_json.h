// JSON as values, objects in the order in which they are written.
#pragma once

#include <string_view>

#include "text/jinja/value.h"

namespace diffulex::jinja {

// Throws Failure with INVALID_ARGUMENT: no JSON, nested too deeply, a key twice, an integer of more
// than 64 bits.
Value from_json(Budget& budget, std::string_view text);

}  // namespace diffulex::jinja
