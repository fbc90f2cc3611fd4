#include "text/jinja/arithmetic.h"

#include <cmath>
#include <string>

#include "text/jinja/compare.h"
#include "text/jinja/number.h"
#include "text/jinja/write.h"

namespace diffulex::jinja {
namespace {

std::string_view sign_of(Operator op) {
  switch (op) {
    case Operator::kAdd:
      return "+";
    case Operator::kSubtract:
      return "-";
    case Operator::kMultiply:
      return "*";
    case Operator::kDivide:
      return "/";
    case Operator::kFloorDivide:
      return "//";
    case Operator::kModulo:
      return "%";
    default:
      return "**";
  }
}

[[noreturn]] void mismatch(Operator op, const Value& a, const Value& b) {
  for (const Value* value : {&a, &b})
    if (value->is(Kind::kUndefined)) fail(value->what() + " is undefined");
  fail("there is no " + std::string(a.type_name()) + " " + std::string(sign_of(op)) + " " +
       std::string(b.type_name()));
}

double divide(const Value& a, const Value& b) {
  if (b.as_real() == 0) fail("division by zero");
  if (!a.is_integral() || !b.is_integral()) return a.as_real() / b.as_real();
  // Integers of 64 bits do not all fit a double.
  return static_cast<double>(static_cast<long double>(a.as_int()) /
                             static_cast<long double>(b.as_int()));
}

Value raise(const Value& a, const Value& b) {
  if (a.is_integral() && b.is_integral() && b.as_int() >= 0)
    return Value::integer(power(a.as_int(), b.as_int()));
  const double base = a.as_real(), exponent = b.as_real();
  if (base == 0 && exponent < 0) fail("zero cannot be raised to a negative power");
  if (base < 0 && std::isfinite(base) && std::isfinite(exponent) &&
      exponent != std::floor(exponent))
    refuse("a complex number");
  const double result = std::pow(base, exponent);
  if (std::isinf(result) && std::isfinite(base) && std::isfinite(exponent))
    fail("the result of a power is too large");
  return Value::real(result);
}

Value calculate_integers(Operator op, int64_t a, int64_t b) {
  switch (op) {
    case Operator::kAdd:
      return Value::integer(add_integers(a, b));
    case Operator::kSubtract:
      return Value::integer(subtract_integers(a, b));
    case Operator::kMultiply:
      return Value::integer(multiply_integers(a, b));
    case Operator::kFloorDivide:
      return Value::integer(floor_divide(a, b));
    default:
      return Value::integer(modulo(a, b));
  }
}

Value calculate_reals(Operator op, double a, double b) {
  switch (op) {
    case Operator::kAdd:
      return Value::real(a + b);
    case Operator::kSubtract:
      return Value::real(a - b);
    case Operator::kMultiply:
      return Value::real(a * b);
    case Operator::kFloorDivide:
      return Value::real(floor_divide(a, b));
    default:
      return Value::real(modulo(a, b));
  }
}

Value calculate_numbers(Operator op, const Value& a, const Value& b) {
  if (op == Operator::kDivide) return Value::real(divide(a, b));
  if (op == Operator::kPower) return raise(a, b);
  if (a.is_integral() && b.is_integral()) return calculate_integers(op, a.as_int(), b.as_int());
  return calculate_reals(op, a.as_real(), b.as_real());
}

Value join_strings(Budget& budget, const Value& a, const Value& b) {
  if (a.markup() || b.markup())
    return Value::string(budget, to_markup(budget, a) + to_markup(budget, b), true);
  return Value::string(budget, a.text() + b.text());
}

Value join_lists(Budget& budget, const Value& a, const Value& b) {
  Values items = a.items();
  items.insert(items.end(), b.items().begin(), b.items().end());
  return Value::sequence(budget, a.kind(), std::move(items));
}

Value repeat(Budget& budget, const Value& value, int64_t count) {
  const auto times = static_cast<uint64_t>(std::max<int64_t>(count, 0));
  const bool is_text = value.is(Kind::kString);
  const uint64_t size = is_text ? value.text().size() : value.items().size() * sizeof(Value);
  // Counted before anything is taken; no more than 64 bits.
  if (size > 0 && times > UINT64_MAX / size) fail("a repetition is too long");
  budget.bytes(size * times);
  std::string text;
  Values items;
  for (uint64_t i = 0; i < times && size > 0; ++i) {
    if (is_text) {
      text += value.text();
    } else {
      items.insert(items.end(), value.items().begin(), value.items().end());
    }
  }
  if (is_text) return Value::string(budget, std::move(text), value.markup());
  return Value::sequence(budget, value.kind(), std::move(items));
}

bool can_repeat(const Value& value) {
  return value.is(Kind::kString) || value.is(Kind::kList) || value.is(Kind::kTuple);
}

}  // namespace

Value calculate(Budget& budget, Operator op, const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) return calculate_numbers(op, a, b);
  if (op == Operator::kAdd) {
    if (a.is(Kind::kString) && b.is(Kind::kString)) return join_strings(budget, a, b);
    const bool lists = a.is(Kind::kList) || a.is(Kind::kTuple);
    if (lists && a.kind() == b.kind()) return join_lists(budget, a, b);
  }
  if (op == Operator::kMultiply) {
    if (can_repeat(a) && b.is_integral()) return repeat(budget, a, b.as_int());
    if (can_repeat(b) && a.is_integral()) return repeat(budget, b, a.as_int());
  }
  if (op == Operator::kModulo && a.is(Kind::kString)) refuse("formatting with %");
  mismatch(op, a, b);
}

bool compare(Budget& budget, Operator op, const Value& a, const Value& b) {
  switch (op) {
    case Operator::kEqual:
      return equal(budget, a, b);
    case Operator::kUnequal:
      return !equal(budget, a, b);
    case Operator::kLess:
      return less(budget, a, b);
    case Operator::kGreater:
      return less(budget, b, a);
    case Operator::kLessEqual:
      return less_or_equal(budget, a, b);
    case Operator::kGreaterEqual:
      return less_or_equal(budget, b, a);
    case Operator::kIn:
      return contains(budget, b, a);
    default:
      return !contains(budget, b, a);
  }
}

Value negate(const Value& value) {
  if (value.is(Kind::kFloat)) return Value::real(-value.as_real());
  if (value.is_integral()) return Value::integer(subtract_integers(0, value.as_int()));
  if (value.is(Kind::kUndefined)) fail(value.what() + " is undefined");
  fail("a value of type " + std::string(value.type_name()) + " has no negative");
}

Value plus(const Value& value) {
  if (value.is(Kind::kFloat)) return value;
  if (value.is_integral()) return Value::integer(value.as_int());
  if (value.is(Kind::kUndefined)) fail(value.what() + " is undefined");
  fail("a value of type " + std::string(value.type_name()) + " is no number");
}

}  // namespace diffulex::jinja
