#include "text/jinja/globals.h"

#include <algorithm>
#include <array>
#include <memory>
#include <string_view>

#include "text/jinja/callable.h"
#include "text/jinja/clock.h"
#include "text/jinja/dict.h"
#include "text/jinja/iterate.h"
#include "text/jinja/write.h"

namespace diffulex::jinja {
namespace {

// The entries of a mapping or of a list of pairs, and those given by name.
Dict read_entries(Run& run, const Arguments& arguments, const char* who) {
  if (arguments.positional.size() > 1) fail(std::string(who) + " takes at most one argument");
  Dict dict;
  if (!arguments.positional.empty()) {
    const Value& from = arguments.positional[0];
    if (from.is(Kind::kDict)) {
      for (const auto& [key, value] : from.dict().entries()) dict.set(run.budget, key, value);
    } else {
      for (const Value& each : elements(run.budget, from)) {
        const Values both = elements(run.budget, each);
        if (both.size() != 2) fail(std::string(who) + " takes pairs of a key and a value");
        dict.set(run.budget, both[0], both[1]);
      }
    }
  }
  for (const auto& [name, value] : arguments.named)
    dict.set(run.budget, Value::string(run.budget, name), value);
  return dict;
}

Value make_dict(Run& run, const Arguments& arguments) {
  return Value::dict(read_entries(run, arguments, "dict"));
}

Value make_namespace(Run& run, const Arguments& arguments) {
  const Dict entries = read_entries(run, arguments, "namespace");
  Namespace* const space = run.make_namespace();
  for (const auto& [key, value] : entries.entries()) {
    if (!key.is(Kind::kString)) fail("the attributes of a namespace have names");
    space->attributes.insert_or_assign(key.text(), value);
  }
  return Value::name_space(space);
}

// As many as Jinja allows.
constexpr int64_t kMaxRange = 100'000;

int64_t range_size(int64_t start, int64_t stop, int64_t step) {
  // Wider than 64 bits, so that no difference is too large.
  const auto span = static_cast<long double>(stop) - static_cast<long double>(start);
  const auto by = static_cast<long double>(step);
  const long double count = (span - (step > 0 ? 1 : -1)) / by;
  if ((step > 0) == (span > 0) && span != 0 && count + 1 > kMaxRange)
    fail("a range is longer than " + std::to_string(kMaxRange));
  return (step > 0) == (span > 0) && span != 0 ? static_cast<int64_t>(count) + 1 : 0;
}

Value make_range(Run& run, const Arguments& arguments) {
  if (!arguments.named.empty()) fail("range takes no named arguments");
  const Bound bound(arguments, "range", {"start", "stop", "step"});
  bound.need(0);
  const bool one = bound.get(1) == nullptr;
  const auto integer = [&](size_t index) {
    if (!bound.need(index).is_integral()) fail("range takes integers");
    return bound.need(index).as_int();
  };
  const int64_t start = one ? 0 : integer(0), stop = integer(one ? 0 : 1);
  const int64_t step = bound.get(2) != nullptr ? integer(2) : 1;
  if (step == 0) fail("the step of a range must not be 0");
  const int64_t size = range_size(start, stop, step);
  Values items;
  items.reserve(static_cast<size_t>(size));
  for (int64_t i = 0; i < size; ++i) items.push_back(Value::integer(start + i * step));
  return Value::sequence(run.budget, Kind::kRange, std::move(items));
}

// The template itself finds fault with what it was given.
Value raise_exception(Run& run, const Arguments& arguments) {
  const Bound bound(arguments, "raise_exception", {"message"});
  throw Failure(DIFFULEX_E_INVALID_ARGUMENT, to_string(run.budget, bound.need(0)));
}

Value strftime_now(Run& run, const Arguments& arguments) {
  const Bound bound(arguments, "strftime_now", {"format"});
  bound.need(0);
  const std::string* format = bound.text(0);
  if (format == nullptr) fail("strftime_now takes a string");
  run.budget.reading(format->size());
  return Value::string(run.budget, format_time(run.now, *format));
}

struct Global {
  std::string_view name;
  Function::Body body;  // null: not covered
};

constexpr auto kGlobals = std::to_array<Global>({
    {"namespace", make_namespace},
    {"range", make_range},
    {"dict", make_dict},
    {"raise_exception", raise_exception},
    {"strftime_now", strftime_now},
    {"cycler", nullptr},
    {"joiner", nullptr},
    {"lipsum", nullptr},
});

}  // namespace

Value find_global(const std::string& name) {
  const auto* at = std::find_if(kGlobals.begin(), kGlobals.end(),
                                [&](const Global& global) { return global.name == name; });
  if (at == kGlobals.end()) return Value::undefined("'" + name + "'");
  if (at->body == nullptr) refuse("the function '" + name + "'");
  return Value::callable(std::make_shared<const Function>(name, at->body));
}

}  // namespace diffulex::jinja
