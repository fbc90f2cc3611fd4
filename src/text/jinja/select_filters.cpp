// Filters that apply a filter or a test to each item.
#include <array>
#include <string>

#include "text/jinja/attribute_path.h"
#include "text/jinja/filters.h"
#include "text/jinja/iterate.h"
#include "text/jinja/tests.h"

namespace diffulex::jinja {
namespace {

// The name that is argument `index`, and what follows it.
const std::string& name_in(const Arguments& arguments, size_t index, const char* who) {
  if (index >= arguments.positional.size() || !arguments.positional[index].is(Kind::kString))
    fail(std::string(who) + " takes a name");
  return arguments.positional[index].text();
}

Arguments rest(const Arguments& arguments, size_t from) {
  Arguments out;
  out.positional.assign(arguments.positional.begin() + static_cast<ptrdiff_t>(from),
                        arguments.positional.end());
  out.named = arguments.named;
  return out;
}

Value map_attribute(Run& run, const Value& input, const Arguments& arguments) {
  const Bound bound(arguments, "map", {"attribute", "default"});
  const AttributePath path(run, bound.get(0));
  const Value* absent = bound.get(1);
  if (absent != nullptr && absent->is(Kind::kNone)) absent = nullptr;
  Values out;
  for (const Value& item : elements(run.budget, input)) out.push_back(path.find(run, item, absent));
  return Value::iterator(run.budget, std::move(out));
}

Value map(Run& run, const Value& input, const Arguments& arguments) {
  if (!input.truthy()) return Value::iterator(run.budget, {});
  if (arguments.positional.empty()) return map_attribute(run, input, arguments);
  const std::string& name = name_in(arguments, 0, "map");
  const Filter filter = find_filter(name);
  if (filter == nullptr) refuse("the filter '" + name + "'");
  const Arguments passed = rest(arguments, 1);
  Values out;
  for (const Value& item : elements(run.budget, input)) {
    run.budget.steps(1);
    out.push_back(filter(run, item, passed));
  }
  return Value::iterator(run.budget, std::move(out));
}

// by_attribute: the test is for an attribute of each item.
template <bool wanted, bool by_attribute>
Value choose(Run& run, const Value& input, const Arguments& arguments) {
  if (!input.truthy()) return Value::iterator(run.budget, {});
  constexpr size_t kName = by_attribute ? 1 : 0;  // the place of the test's name
  if (by_attribute && arguments.positional.empty()) fail("the name of an attribute is missing");
  const AttributePath path(run, by_attribute ? arguments.positional.data() : nullptr);
  const bool has_test = arguments.positional.size() > kName;
  const Test test = has_test ? find_test(name_in(arguments, kName, "select and reject")) : nullptr;
  if (has_test && test == nullptr) refuse("the test '" + arguments.positional[kName].text() + "'");
  const Arguments passed = has_test ? rest(arguments, kName + 1) : Arguments();
  Values out;
  for (const Value& item : elements(run.budget, input)) {
    run.budget.steps(1);
    const Value subject = path.find(run, item);
    const bool holds = has_test ? test(run, subject, passed) : subject.truthy();
    if (holds == wanted) out.push_back(item);
  }
  return Value::iterator(run.budget, std::move(out));
}

constexpr auto kFilters = std::to_array<FilterEntry>({
    {"map", map},
    {"select", choose<true, false>},
    {"reject", choose<false, false>},
    {"selectattr", choose<true, true>},
    {"rejectattr", choose<false, true>},
});

}  // namespace

std::span<const FilterEntry> select_filters() { return kFilters; }

}  // namespace diffulex::jinja
