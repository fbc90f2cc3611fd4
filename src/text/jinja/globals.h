// The functions that every template finds.
#pragma once

#include <string>

#include "text/jinja/value.h"

namespace diffulex::jinja {

// Undefined: there is none of that name. Errors: one that Jinja has and this has not.
Value find_global(const std::string& name);

}  // namespace diffulex::jinja
