// Filters that make numbers.
#include <array>
#include <cmath>
#include <string>

#include "text/jinja/arithmetic.h"
#include "text/jinja/filters.h"
#include "text/jinja/number.h"

namespace diffulex::jinja {
namespace {

// int(text), or int(float(text)): "42.9" gives 42.
std::optional<int64_t> integer_in(const std::string& text) {
  if (const std::optional<int64_t> whole = parse_integer(text)) return whole;
  const std::optional<double> real = parse_real(text);
  if (!real || !std::isfinite(*real)) return std::nullopt;
  return truncate(*real);
}

Value integer(Run& run, const Value& input, const Arguments& arguments) {
  const Bound bound(arguments, "int", {"default", "base"});
  if (bound.integer(1).value_or(10) != 10) refuse("int of another base than ten");
  if (input.is(Kind::kUndefined)) fail(input.what() + " is undefined");
  if (input.is_integral()) return Value::integer(input.as_int());
  const Value absent = bound.get(0) != nullptr ? *bound.get(0) : Value::integer(0);
  if (input.is(Kind::kFloat))
    return std::isnan(input.as_real()) ? absent : Value::integer(truncate(input.as_real()));
  if (input.is(Kind::kString)) run.budget.reading(input.text().size());
  const std::optional<int64_t> read =
      input.is(Kind::kString) ? integer_in(input.text()) : std::nullopt;
  return read ? Value::integer(*read) : absent;
}

Value real(Run& run, const Value& input, const Arguments& arguments) {
  const Bound bound(arguments, "float", {"default"});
  if (input.is(Kind::kUndefined)) fail(input.what() + " is undefined");
  if (input.is_number()) return Value::real(input.as_real());
  if (input.is(Kind::kString)) run.budget.reading(input.text().size());
  const std::optional<double> read =
      input.is(Kind::kString) ? parse_real(input.text()) : std::nullopt;
  if (read) return Value::real(*read);
  return bound.get(0) != nullptr ? *bound.get(0) : Value::real(0);
}

Value absolute(Run&, const Value& input, const Arguments& arguments) {
  const Bound none(arguments, "abs", {});
  if (!input.is_number()) fail("abs takes a number, not " + std::string(input.type_name()));
  if (input.is(Kind::kFloat)) return Value::real(std::fabs(input.as_real()));
  return input.as_int() < 0 ? negate(input) : Value::integer(input.as_int());
}

Value rounded(Run&, const Value& input, const Arguments& arguments) {
  const Bound bound(arguments, "round", {"precision", "method"});
  const int64_t digits = bound.integer(0).value_or(0);
  const std::string* method = bound.text(1);
  if (!input.is_number()) fail("round takes a number, not " + std::string(input.type_name()));
  if (digits < 0 || digits > 300) refuse("rounding to other than 0 to 300 digits");
  if (method == nullptr || *method == "common") {
    if (input.is_integral()) return Value::integer(input.as_int());
    return Value::real(round_real(input.as_real(), static_cast<int>(digits)));
  }
  if (*method != "ceil" && *method != "floor") fail("round has no method '" + *method + "'");
  const double scale = std::pow(10.0, static_cast<double>(digits));
  const double scaled = input.as_real() * scale;
  if (!std::isfinite(scaled)) fail("round: the number is too large");
  // As Python's, through an integer, which has no negative zero.
  const double whole = (*method == "ceil" ? std::ceil(scaled) : std::floor(scaled)) + 0.0;
  return Value::real(whole / scale);
}

constexpr auto kFilters = std::to_array<FilterEntry>({
    {"int", integer},
    {"float", real},
    {"abs", absolute},
    {"round", rounded},
});

}  // namespace

std::span<const FilterEntry> number_filters() { return kFilters; }

}  // namespace diffulex::jinja
