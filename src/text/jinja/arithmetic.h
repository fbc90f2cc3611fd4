// The binary operators.
#pragma once

#include <cstdint>

#include "text/jinja/budget.h"
#include "text/jinja/value.h"

namespace diffulex::jinja {

enum class Operator : uint8_t {
  kAdd,
  kSubtract,
  kMultiply,
  kDivide,
  kFloorDivide,
  kModulo,
  kPower,
  // Comparisons; they may stand in a row.
  kEqual,
  kUnequal,
  kLess,
  kLessEqual,
  kGreater,
  kGreaterEqual,
  kIn,
  kNotIn
};

// Up to kPower. Errors: values that have no such operation.
Value calculate(Budget& budget, Operator op, const Value& a, const Value& b);

// From kEqual on. Errors: as above.
bool compare(Budget& budget, Operator op, const Value& a, const Value& b);

Value negate(const Value& value);
Value plus(const Value& value);

}  // namespace diffulex::jinja
