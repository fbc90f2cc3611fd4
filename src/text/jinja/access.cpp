#include "text/jinja/access.h"

#include <algorithm>
#include <optional>
#include <string>

#include "text/jinja/characters.h"
#include "text/jinja/dict.h"
#include "text/jinja/loop.h"
#include "text/jinja/methods.h"

namespace diffulex::jinja {
namespace {

// For messages: as much of a name as people want to see.
std::string shown(std::string_view name) {
  constexpr size_t kLongest = 100;
  if (name.size() <= kLongest) return std::string(name);
  size_t end = kLongest;
  while ((static_cast<unsigned char>(name[end]) & 0xC0) == 0x80) --end;  // not inside a character
  return std::string(name.substr(0, end)) + "...";
}

Value missing(std::string_view name, const Value& value) {
  return Value::undefined("the attribute '" + shown(name) + "' of a " +
                          std::string(value.type_name()));
}

Value namespace_attribute(const Value& value, std::string_view name) {
  const auto& attributes = value.name_space().attributes;
  const auto found = attributes.find(std::string(name));
  return found != attributes.end() ? found->second : missing(name, value);
}

// What getattr would find; nothing: no such attribute.
std::optional<Value> own_attribute(Run& run, const Value& value, std::string_view name) {
  run.budget.reading(name.size());
  if (value.is(Kind::kUndefined)) fail(value.what() + " is undefined");
  if (value.is(Kind::kNamespace)) return namespace_attribute(value, name);
  if (value.is(Kind::kLoop)) return loop_attribute(run, value, name);
  return find_method(value, name);
}

std::optional<Value> indexed(Run& run, const Value& value, int64_t index) {
  const bool is_text = value.is(Kind::kString);
  if (!is_text && !value.is_indexable()) return std::nullopt;
  if (is_text) run.budget.steps(value.text().size());
  const Pieces letters = is_text ? characters(run.budget, value.text()) : Pieces();
  const auto count = static_cast<int64_t>(is_text ? letters.size() : value.items().size());
  if (index < 0) index += count;
  if (index < 0 || index >= count) return std::nullopt;
  const auto at = static_cast<size_t>(index);
  return is_text ? Value::string(run.budget, std::string(letters[at])) : value.items()[at];
}

// What value[key] gives in Python; nothing where that is an error.
std::optional<Value> own_element(Run& run, const Value& value, const Value& key) {
  run.budget.steps(1);
  if (value.is(Kind::kDict)) {
    if (key.is(Kind::kList) || key.is(Kind::kDict)) return std::nullopt;
    const Value* found = value.dict().find(run.budget, key);
    return found != nullptr ? std::optional(*found) : std::nullopt;
  }
  return key.is_integral() ? indexed(run, value, key.as_int()) : std::nullopt;
}

struct Range {
  int64_t start, step, count;
};

std::optional<int64_t> bound(const Value& value) {
  if (value.is(Kind::kNone)) return std::nullopt;
  if (!value.is_integral())
    fail("the bounds of a slice must be integers, not " + std::string(value.type_name()));
  return value.as_int();
}

// A bound as a place in [lowest, highest], counted from the end where it is negative.
int64_t place(int64_t at, int64_t size, int64_t lowest, int64_t highest) {
  if (at < 0) at = at < -size ? lowest : at + size;
  return std::clamp(at, lowest, highest);
}

Range range_of(int64_t size, const Value& start, const Value& stop, const Value& step) {
  const int64_t by = bound(step).value_or(1);
  if (by == 0) fail("the step of a slice must not be 0");
  const int64_t lowest = by > 0 ? 0 : -1, highest = by > 0 ? size : size - 1;
  const std::optional<int64_t> from = bound(start), to = bound(stop);
  const int64_t first = from ? place(*from, size, lowest, highest) : by > 0 ? lowest : highest;
  const int64_t last = to ? place(*to, size, lowest, highest) : by > 0 ? highest : lowest;
  if (by > 0) return {first, by, first < last ? (last - first - 1) / by + 1 : 0};
  // -(by + 1) + 1 is the size of the smallest step, too.
  const uint64_t down = static_cast<uint64_t>(-(by + 1)) + 1;
  const auto span = static_cast<uint64_t>(first - last);
  return {first, by, last < first ? static_cast<int64_t>((span - 1) / down + 1) : 0};
}

}  // namespace

Value attribute(Run& run, const Value& value, std::string_view name) {
  if (std::optional<Value> own = own_attribute(run, value, name)) return *std::move(own);
  if (!value.is(Kind::kDict)) return missing(name, value);
  const Value* found = value.dict().find(name);
  return found != nullptr ? *found : missing(name, value);
}

Value element(Run& run, const Value& value, const Value& key) {
  if (value.is(Kind::kUndefined)) fail(value.what() + " is undefined");
  if (std::optional<Value> own = own_element(run, value, key)) return *std::move(own);
  if (key.is(Kind::kString)) {
    if (std::optional<Value> own = own_attribute(run, value, key.text())) return *std::move(own);
    return missing(key.text(), value);
  }
  const std::string which =
      key.is_integral() ? "element " + std::to_string(key.as_int()) : "an element";
  return Value::undefined(which + " of a " + std::string(value.type_name()));
}

Value slice(Run& run, const Value& value, const Value& start, const Value& stop,
            const Value& step) {
  if (value.is(Kind::kUndefined)) fail(value.what() + " is undefined");
  const bool is_text = value.is(Kind::kString);
  if (!is_text && !value.is_indexable())
    fail("a value of type " + std::string(value.type_name()) + " cannot be sliced");
  if (value.is(Kind::kRange)) refuse("a slice of a range");
  if (is_text) run.budget.steps(value.text().size());
  const Pieces letters = is_text ? characters(run.budget, value.text()) : Pieces();
  const size_t size = is_text ? letters.size() : value.items().size();
  const Range range = range_of(static_cast<int64_t>(size), start, stop, step);
  std::string text;
  Values items;
  int64_t at = range.start;
  for (int64_t i = 0; i < range.count; ++i) {
    if (i > 0) at += range.step;
    const auto index = static_cast<size_t>(at);
    if (is_text) {
      text += letters[index];
    } else {
      items.push_back(value.items()[index]);
    }
  }
  if (is_text) return Value::string(run.budget, std::move(text), value.markup());
  return Value::sequence(run.budget, value.kind(), std::move(items));
}

}  // namespace diffulex::jinja
