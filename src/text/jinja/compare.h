// Equality and order of values, as in Python.
#pragma once

#include "text/jinja/budget.h"
#include "text/jinja/value.h"

namespace diffulex::jinja {

bool equal(Budget& budget, const Value& a, const Value& b);

// Errors: values that have no order.
bool less(Budget& budget, const Value& a, const Value& b);
bool less_or_equal(Budget& budget, const Value& a, const Value& b);

// `item in container`. Takes from an iterator what it looks at. Errors: no container.
bool contains(Budget& budget, const Value& container, const Value& item);

}  // namespace diffulex::jinja
