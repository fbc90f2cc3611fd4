#include "text/jinja/tests.h"

#include <algorithm>
#include <array>
#include <string>

#include "text/jinja/compare.h"
#include "text/jinja/iterate.h"

namespace diffulex::jinja {
namespace {

using Property = bool (*)(const Value& value);

template <Property property>
bool has(Run&, const Value& input, const Arguments& arguments) {
  const Bound none(arguments, "the test", {});
  return property(input);
}

template <Kind kind>
bool is_kind(const Value& value) {
  return value.is(kind);
}

template <bool wanted>
bool is_exactly(const Value& value) {
  return value.is(Kind::kBool) && value.as_bool() == wanted;
}

bool is_defined(const Value& value) { return !value.is(Kind::kUndefined); }
bool is_number(const Value& value) { return value.is_number(); }
bool is_markup(const Value& value) { return value.markup(); }

// Has a length and elements, or looks as if.
bool is_sequence(const Value& value) {
  return value.is_indexable() || value.is(Kind::kString) || value.is(Kind::kDict) ||
         value.is(Kind::kUndefined);
}

bool is_callable(const Value& value) {
  return value.is(Kind::kCallable) || value.is(Kind::kLoop) || value.is(Kind::kUndefined);
}

template <Operator op>
bool compares(Run& run, const Value& input, const Arguments& arguments) {
  const Bound bound(arguments, "the test", {"other"});
  return compare(run.budget, op, input, bound.need(0));
}

bool leaves(Run& run, const Value& input, const Value& divisor, int64_t rest) {
  const Value left = calculate(run.budget, Operator::kModulo, input, divisor);
  return equal(run.budget, left, Value::integer(rest));
}

template <int64_t rest>
bool is_parity(Run& run, const Value& input, const Arguments& arguments) {
  const Bound none(arguments, "the test", {});
  return leaves(run, input, Value::integer(2), rest);
}

bool divides(Run& run, const Value& input, const Arguments& arguments) {
  const Bound bound(arguments, "divisibleby", {"num"});
  return leaves(run, input, bound.need(0), 0);
}

// Python asks whether both are one object, which values here cannot tell for all kinds.
bool is_same(Run&, const Value& input, const Arguments& arguments) {
  const Bound bound(arguments, "sameas", {"other"});
  const Value& other = bound.need(0);
  if (input.kind() != other.kind()) return false;
  if (input.is(Kind::kNone)) return true;
  if (!input.is(Kind::kBool))
    refuse("'sameas' for values of type " + std::string(input.type_name()));
  return input.as_bool() == other.as_bool();
}

struct Entry {
  std::string_view name;
  Test test;
};

constexpr auto kTests = std::to_array<Entry>({
    {"defined", has<is_defined>},
    {"undefined", has<is_kind<Kind::kUndefined>>},
    {"none", has<is_kind<Kind::kNone>>},
    {"string", has<is_kind<Kind::kString>>},
    {"number", has<is_number>},
    {"integer", has<is_kind<Kind::kInt>>},
    {"float", has<is_kind<Kind::kFloat>>},
    {"boolean", has<is_kind<Kind::kBool>>},
    {"true", has<is_exactly<true>>},
    {"false", has<is_exactly<false>>},
    {"mapping", has<is_kind<Kind::kDict>>},
    {"iterable", has<is_iterable>},
    {"sequence", has<is_sequence>},
    {"callable", has<is_callable>},
    {"escaped", has<is_markup>},
    {"equalto", compares<Operator::kEqual>},
    {"eq", compares<Operator::kEqual>},
    {"==", compares<Operator::kEqual>},
    {"ne", compares<Operator::kUnequal>},
    {"!=", compares<Operator::kUnequal>},
    {"lt", compares<Operator::kLess>},
    {"lessthan", compares<Operator::kLess>},
    {"<", compares<Operator::kLess>},
    {"le", compares<Operator::kLessEqual>},
    {"<=", compares<Operator::kLessEqual>},
    {"gt", compares<Operator::kGreater>},
    {"greaterthan", compares<Operator::kGreater>},
    {">", compares<Operator::kGreater>},
    {"ge", compares<Operator::kGreaterEqual>},
    {">=", compares<Operator::kGreaterEqual>},
    {"in", compares<Operator::kIn>},
    {"odd", is_parity<1>},
    {"even", is_parity<0>},
    {"divisibleby", divides},
    {"sameas", is_same},
});

}  // namespace

Test find_test(std::string_view name) {
  const auto* at = std::find_if(kTests.begin(), kTests.end(),
                                [&](const Entry& entry) { return entry.name == name; });
  return at != kTests.end() ? at->test : nullptr;
}

}  // namespace diffulex::jinja
