#include "text/jinja/loop.h"

#include <string>

#include "text/jinja/callable.h"

namespace diffulex::jinja {
namespace {

Value cycle(Run& run, const Value& self, const Arguments& arguments) {
  run.budget.steps(1);
  if (!arguments.named.empty() || arguments.positional.empty())
    fail("loop.cycle takes values to choose from");
  return arguments.positional[self.loop().index % arguments.positional.size()];
}

Value neighbour(const Loop& loop, bool there, size_t index, std::string_view name) {
  return there ? loop.items.items()[index] : Value::undefined("loop." + std::string(name));
}

}  // namespace

Value loop_attribute(Run& run, const Value& value, std::string_view name) {
  run.budget.steps(1);
  const Loop& loop = value.loop();
  const auto index = static_cast<int64_t>(loop.index);
  const auto length = static_cast<int64_t>(loop.items.items().size());
  if (name == "index") return Value::integer(index + 1);
  if (name == "index0") return Value::integer(index);
  if (name == "revindex") return Value::integer(length - index);
  if (name == "revindex0") return Value::integer(length - index - 1);
  if (name == "first") return Value::boolean(index == 0);
  if (name == "last") return Value::boolean(index + 1 == length);
  if (name == "length") return Value::integer(length);
  if (name == "depth") return Value::integer(1);
  if (name == "depth0") return Value::integer(0);
  if (name == "previtem") return neighbour(loop, index > 0, loop.index - 1, name);
  if (name == "nextitem") return neighbour(loop, index + 1 < length, loop.index + 1, name);
  if (name == "cycle")
    return Value::callable(std::make_shared<const Method>("loop.cycle", value, cycle));
  if (name == "changed") refuse("loop.changed");
  return Value::undefined("loop." + std::string(name));
}

}  // namespace diffulex::jinja
