// Filters that compare items with each other, and their sum.
#include <algorithm>
#include <array>
#include <string>
#include <utility>

#include "text/jinja/arithmetic.h"
#include "text/jinja/attribute_path.h"
#include "text/jinja/characters.h"
#include "text/jinja/compare.h"
#include "text/jinja/dict.h"
#include "text/jinja/filters.h"
#include "text/jinja/iterate.h"

namespace diffulex::jinja {
namespace {

struct Keyed {
  Value key, item;
};

// Strings are alike in both cases, unless that matters.
Value fold(Run& run, const Value& value, bool case_sensitive) {
  if (case_sensitive || !value.is(Kind::kString)) return value;
  return Value::string(run.budget, lower(value.text()));
}

// Stable in both directions.
Values sorted(Run& run, std::vector<Keyed> all, bool reverse) {
  std::stable_sort(all.begin(), all.end(), [&](const Keyed& a, const Keyed& b) {
    return reverse ? less(run.budget, b.key, a.key) : less(run.budget, a.key, b.key);
  });
  Values out;
  out.reserve(all.size());
  for (Keyed& each : all) out.push_back(std::move(each.item));
  return out;
}

Value sort(Run& run, const Value& input, const Arguments& arguments) {
  const Bound bound(arguments, "sort", {"reverse", "case_sensitive", "attribute"});
  const bool case_sensitive = bound.flag(1, false);
  const std::vector<AttributePath> paths = attribute_paths(run, bound.get(2));
  std::vector<Keyed> all;
  for (const Value& item : elements(run.budget, input)) {
    Values keys;
    for (const AttributePath& path : paths)
      keys.push_back(fold(run, path.find(run, item), case_sensitive));
    all.push_back({Value::list(run.budget, std::move(keys)), item});
  }
  return Value::list(run.budget, sorted(run, std::move(all), bound.flag(0, false)));
}

Value sort_dict(Run& run, const Value& input, const Arguments& arguments) {
  const Bound bound(arguments, "dictsort", {"case_sensitive", "by", "reverse"});
  if (!input.is(Kind::kDict)) fail("dictsort takes a dict, not " + std::string(input.type_name()));
  const std::string* by = bound.text(1);
  if (by != nullptr && *by != "key" && *by != "value") fail("dictsort sorts by 'key' or 'value'");
  const bool by_value = by != nullptr && *by == "value";
  std::vector<Keyed> all;
  for (const auto& [key, value] : input.dict().entries())
    all.push_back({fold(run, by_value ? value : key, bound.flag(0, false)),
                   Value::pair(run.budget, key, value)});
  return Value::list(run.budget, sorted(run, std::move(all), bound.flag(2, false)));
}

Value unique(Run& run, const Value& input, const Arguments& arguments) {
  const Bound bound(arguments, "unique", {"case_sensitive", "attribute"});
  const AttributePath path(run, bound.get(1));
  Dict seen;
  Values out;
  for (const Value& item : elements(run.budget, input)) {
    const Value key = fold(run, path.find(run, item), bound.flag(0, false));
    if (seen.find(run.budget, key) != nullptr) continue;
    seen.set(run.budget, key, Value());
    out.push_back(item);
  }
  return Value::iterator(run.budget, std::move(out));
}

template <bool greatest>
Value extreme(Run& run, const Value& input, const Arguments& arguments) {
  const Bound bound(arguments, "min and max", {"case_sensitive", "attribute"});
  const AttributePath path(run, bound.get(1));
  Value best = Value::undefined("the extreme of nothing"), best_key;
  bool any = false;
  for (const Value& item : elements(run.budget, input)) {
    Value key = fold(run, path.find(run, item), bound.flag(0, false));
    const bool better =
        !any || (greatest ? less(run.budget, best_key, key) : less(run.budget, key, best_key));
    any = true;
    if (!better) continue;
    best = item;
    best_key = std::move(key);
  }
  return best;
}

Value sum(Run& run, const Value& input, const Arguments& arguments) {
  const Bound bound(arguments, "sum", {"attribute", "start"});
  const AttributePath path(run, bound.get(0));
  Value total = bound.get(1) != nullptr ? *bound.get(1) : Value::integer(0);
  if (total.is(Kind::kString)) fail("sum takes no strings");
  for (const Value& item : elements(run.budget, input))
    total = calculate(run.budget, Operator::kAdd, total, path.find(run, item));
  return total;
}

constexpr auto kFilters = std::to_array<FilterEntry>({
    {"sort", sort},
    {"dictsort", sort_dict},
    {"unique", unique},
    {"min", extreme<false>},
    {"max", extreme<true>},
    {"sum", sum},
});

}  // namespace

std::span<const FilterEntry> sort_filters() { return kFilters; }

}  // namespace diffulex::jinja
