// The tests that may follow an `is`.
#pragma once

#include <string_view>

#include "text/jinja/ast.h"

namespace diffulex::jinja {

// Null: there is none of that name.
Test find_test(std::string_view name);

}  // namespace diffulex::jinja
