#include "text/jinja/attribute_path.h"

#include <algorithm>
#include <string>

#include "text/jinja/access.h"
#include "text/jinja/characters.h"
#include "text/jinja/number.h"

namespace diffulex::jinja {
namespace {

// A number is a place in a list.
Value part_of(Budget& budget, std::string_view text) {
  const bool is_number = !text.empty() && std::all_of(text.begin(), text.end(),
                                                      [](char c) { return c >= '0' && c <= '9'; });
  if (is_number) return Value::integer(*parse_integer(text));
  return Value::string(budget, std::string(text));
}

}  // namespace

AttributePath::AttributePath(Run& run, const Value* path) {
  if (path == nullptr || path->is(Kind::kNone)) return;
  if (path->is_integral()) {
    parts_.push_back(*path);
    return;
  }
  if (!path->is(Kind::kString))
    fail("the name of an attribute must be a string, not " + std::string(path->type_name()));
  run.budget.reading(path->text().size());
  for (const std::string_view part : split(run.budget, path->text(), ".", -1))
    parts_.push_back(part_of(run.budget, part));
}

Value AttributePath::find(Run& run, Value item, const Value* absent) const {
  for (const Value& part : parts_) {
    item = element(run, item, part);
    if (absent != nullptr && item.is(Kind::kUndefined)) item = *absent;
  }
  return item;
}

std::vector<AttributePath> attribute_paths(Run& run, const Value* paths) {
  std::vector<AttributePath> out;
  if (paths == nullptr || !paths->is(Kind::kString)) {
    out.emplace_back(run, paths);
    return out;
  }
  for (const std::string_view path : split(run.budget, paths->text(), ",", -1)) {
    const Value text = Value::string(run.budget, std::string(path));
    out.emplace_back(run, &text);
  }
  return out;
}

}  // namespace diffulex::jinja
