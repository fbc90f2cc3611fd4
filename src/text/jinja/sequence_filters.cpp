// Filters that look at lists as a whole.
#include <algorithm>
#include <array>
#include <string>

#include "text/jinja/attribute_path.h"
#include "text/jinja/dict.h"
#include "text/jinja/filters.h"
#include "text/jinja/iterate.h"
#include "text/jinja/write.h"

namespace diffulex::jinja {
namespace {

Value count(Run& run, const Value& input, const Arguments& arguments) {
  const Bound none(arguments, "length", {});
  return Value::integer(length(run.budget, input));
}

Value otherwise(Run& run, const Value& input, const Arguments& arguments) {
  const Bound bound(arguments, "default", {"default_value", "boolean"});
  const bool take = input.is(Kind::kUndefined) || (bound.flag(1, false) && !input.truthy());
  if (!take) return input;
  if (bound.get(0) != nullptr) return *bound.get(0);
  return Value::string(run.budget, "");
}

Value first(Run& run, const Value& input, const Arguments& arguments) {
  const Bound none(arguments, "first", {});
  const Value empty = Value::undefined("the first item of nothing");
  if (input.is(Kind::kIterator)) {
    Iterator& iterator = input.iterator();
    return iterator.next < iterator.items.size() ? iterator.items[iterator.next++] : empty;
  }
  const Values all = elements(run.budget, input);
  return all.empty() ? empty : all.front();
}

Value last(Run& run, const Value& input, const Arguments& arguments) {
  const Bound none(arguments, "last", {});
  if (input.is(Kind::kIterator)) fail("what can be walked once has no last item");
  const Values all = elements(run.budget, input);
  return all.empty() ? Value::undefined("the last item of nothing") : all.back();
}

Value list(Run& run, const Value& input, const Arguments& arguments) {
  const Bound none(arguments, "list", {});
  return Value::list(run.budget, elements(run.budget, input));
}

Value items(Run& run, const Value& input, const Arguments& arguments) {
  const Bound none(arguments, "items", {});
  Values pairs;
  if (input.is(Kind::kUndefined)) return Value::iterator(run.budget, {});
  if (!input.is(Kind::kDict)) fail("items takes a dict, not " + std::string(input.type_name()));
  for (const auto& [key, value] : input.dict().entries())
    pairs.push_back(Value::pair(run.budget, key, value));
  return Value::iterator(run.budget, std::move(pairs));
}

Value reverse(Run& run, const Value& input, const Arguments& arguments) {
  const Bound none(arguments, "reverse", {});
  if (input.markup()) refuse("a filter of markup");
  Values all = elements(run.budget, input);
  std::reverse(all.begin(), all.end());
  if (input.is(Kind::kIterator)) return Value::list(run.budget, std::move(all));
  if (!input.is(Kind::kString)) return Value::iterator(run.budget, std::move(all));
  std::string text;
  for (const Value& character : all) text += character.text();
  return Value::string(run.budget, std::move(text));
}

Value join(Run& run, const Value& input, const Arguments& arguments) {
  const Bound bound(arguments, "join", {"d", "attribute"});
  const std::string between =
      bound.get(0) != nullptr ? to_string(run.budget, *bound.get(0)) : std::string();
  const AttributePath path(run, bound.get(1));
  std::string text;
  bool begins = true;
  for (const Value& item : elements(run.budget, input)) {
    if (!begins) {
      run.budget.bytes(between.size());
      text += between;
    }
    begins = false;
    write_string(run.budget, path.find(run, item), text);
  }
  return Value::string(run.budget, std::move(text));
}

constexpr auto kFilters = std::to_array<FilterEntry>({
    {"length", count},
    {"count", count},
    {"default", otherwise},
    {"d", otherwise},
    {"first", first},
    {"last", last},
    {"list", list},
    {"items", items},
    {"reverse", reverse},
    {"join", join},
});

}  // namespace

std::span<const FilterEntry> sequence_filters() { return kFilters; }

}  // namespace diffulex::jinja
