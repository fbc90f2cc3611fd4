// What `loop` is inside a for.
#pragma once

#include <cstddef>
#include <string_view>

#include "text/jinja/run.h"
#include "text/jinja/value.h"

namespace diffulex::jinja {

struct Loop {
  Value items;       // a list
  size_t index = 0;  // from 0
};

// loop.index and the like. Errors: what is not covered; an unknown name is undefined.
Value loop_attribute(Run& run, const Value& loop, std::string_view name);

}  // namespace diffulex::jinja
