// The elements of what can be walked.
#pragma once

#include "text/jinja/budget.h"
#include "text/jinja/value.h"

namespace diffulex::jinja {

bool is_iterable(const Value& value);

// Of a list, its items; of a dict, its keys; of a string, its characters; of undefined, nothing.
// Takes all that an iterator has left. Errors: not iterable.
Values elements(Budget& budget, const Value& value);

// As Python's len. Errors: a value without length.
int64_t length(Budget& budget, const Value& value);

}  // namespace diffulex::jinja
