#include "text/jinja/iterate.h"

#include <string>

#include "text/jinja/characters.h"
#include "text/jinja/dict.h"

namespace diffulex::jinja {
namespace {

Values characters_of(Budget& budget, const Value& text) {
  Values out;
  for (const std::string_view character : characters(budget, text.text()))
    out.push_back(Value::string(budget, std::string(character)));
  return out;
}

Values keys_of(const Value& dict) {
  Values out;
  out.reserve(dict.dict().size());
  for (const Dict::Entry& entry : dict.dict().entries()) out.push_back(entry.first);
  return out;
}

Values rest_of(Iterator& iterator) {
  const auto begin = iterator.items.begin() + static_cast<ptrdiff_t>(iterator.next);
  iterator.next = iterator.items.size();
  return {begin, iterator.items.end()};
}

}  // namespace

bool is_iterable(const Value& value) {
  return value.is_sequence() || value.is(Kind::kString) || value.is(Kind::kDict) ||
         value.is(Kind::kIterator) || value.is(Kind::kUndefined) || value.is(Kind::kLoop);
}

Values elements(Budget& budget, const Value& value) {
  budget.steps(1);
  if (value.is_sequence()) {
    budget.steps(value.items().size());
    return value.items();
  }
  switch (value.kind()) {
    case Kind::kString:
      budget.steps(value.text().size());
      return characters_of(budget, value);
    case Kind::kDict:
      budget.steps(value.dict().size());
      return keys_of(value);
    case Kind::kIterator:
      budget.steps(value.iterator().items.size());
      return rest_of(value.iterator());
    case Kind::kUndefined:
      return {};
    case Kind::kLoop:
      refuse("walking 'loop' itself");
    default:
      fail("a value of type " + std::string(value.type_name()) + " cannot be iterated");
  }
}

int64_t length(Budget& budget, const Value& value) {
  budget.steps(1);
  if (value.is_sequence()) return static_cast<int64_t>(value.items().size());
  switch (value.kind()) {
    case Kind::kString:
      budget.steps(value.text().size() / 64);
      return static_cast<int64_t>(character_count(value.text()));
    case Kind::kDict:
      return static_cast<int64_t>(value.dict().size());
    case Kind::kUndefined:
      return 0;
    default:
      fail("a value of type " + std::string(value.type_name()) + " has no length");
  }
}

}  // namespace diffulex::jinja
