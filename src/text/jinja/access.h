// Attributes, elements and slices of values.
#pragma once

#include <string_view>

#include "text/jinja/run.h"
#include "text/jinja/value.h"

namespace diffulex::jinja {

// value.name: a method or attribute, else the element of that name. What is not there is
// undefined. Errors: undefined has no attributes.
Value attribute(Run& run, const Value& value, std::string_view name);

// value[key]: the element, else the attribute of that name. Errors: as above.
Value element(Run& run, const Value& value, const Value& key);

// value[start:stop:step]; none where nothing is written. Errors: not a string or list, step 0.
Value slice(Run& run, const Value& value, const Value& start, const Value& stop, const Value& step);

}  // namespace diffulex::jinja
