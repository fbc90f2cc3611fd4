#include "text/jinja/compare.h"

#include <algorithm>
#include <limits>
#include <string>

#include "text/jinja/characters.h"
#include "text/jinja/dict.h"
#include "text/jinja/iterate.h"

namespace diffulex::jinja {
namespace {

// Wide enough for every integer of 64 bits and every double.
long double exact(const Value& number) {
  static_assert(std::numeric_limits<long double>::digits >= 64);
  return number.is(Kind::kFloat) ? static_cast<long double>(number.as_real())
                                 : static_cast<long double>(number.as_int());
}

bool equal_dicts(Budget& budget, const Dict& a, const Dict& b) {
  if (a.size() != b.size()) return false;
  return std::all_of(a.entries().begin(), a.entries().end(), [&](const Dict::Entry& entry) {
    const Value* other = b.find(budget, entry.first);
    return other != nullptr && equal(budget, entry.second, *other);
  });
}

bool equal_items(Budget& budget, const Values& a, const Values& b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i)
    if (!equal(budget, a[i], b[i])) return false;
  return true;
}

bool equal_objects(const Value& a, const Value& b) {
  switch (a.kind()) {
    case Kind::kIterator:
      return &a.iterator() == &b.iterator();
    case Kind::kNamespace:
      return &a.name_space() == &b.name_space();
    case Kind::kCallable:
      return &a.callable() == &b.callable();
    case Kind::kLoop:
      return &a.loop() == &b.loop();
    default:
      return true;  // none, undefined
  }
}

bool less_items(Budget& budget, const Values& a, const Values& b) {
  const size_t common = std::min(a.size(), b.size());
  for (size_t i = 0; i < common; ++i)
    if (!equal(budget, a[i], b[i])) return less(budget, a[i], b[i]);
  return a.size() < b.size();
}

}  // namespace

bool equal(Budget& budget, const Value& a, const Value& b) {
  budget.steps(1);
  if (a.is_number() && b.is_number()) return exact(a) == exact(b);
  if (a.kind() != b.kind()) return false;
  if (a.is(Kind::kString)) {
    budget.steps(std::min(a.text().size(), b.text().size()) / 64);
    return a.text() == b.text();
  }
  if (a.is(Kind::kDict)) return equal_dicts(budget, a.dict(), b.dict());
  if (a.is_indexable()) return equal_items(budget, a.items(), b.items());
  if (a.is_sequence()) refuse("comparing the views of dicts");
  return equal_objects(a, b);
}

bool less(Budget& budget, const Value& a, const Value& b) {
  budget.steps(1);
  if (a.is_number() && b.is_number()) return exact(a) < exact(b);
  if (a.is(Kind::kString) && b.is(Kind::kString)) {
    budget.steps(std::min(a.text().size(), b.text().size()) / 64);
    return a.text() < b.text();  // the order of UTF-8 bytes is that of code points
  }
  if (a.kind() == b.kind() && (a.is(Kind::kList) || a.is(Kind::kTuple)))
    return less_items(budget, a.items(), b.items());
  if (a.is(Kind::kUndefined)) fail(a.what() + " is undefined");
  if (b.is(Kind::kUndefined)) fail(b.what() + " is undefined");
  fail("values of type " + std::string(a.type_name()) + " and " + std::string(b.type_name()) +
       " have no order");
}

// Not the opposite of b < a: nothing is that way to what is no number.
bool less_or_equal(Budget& budget, const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) return exact(a) <= exact(b);
  return !less(budget, b, a);
}

bool contains(Budget& budget, const Value& container, const Value& item) {
  budget.steps(1);
  if (container.is(Kind::kString)) {
    if (!item.is(Kind::kString))
      fail("a string contains strings only, not " + std::string(item.type_name()));
    budget.steps(container.text().size() / 64);
    return find(container.text(), item.text()) != std::string_view::npos;
  }
  if (container.is(Kind::kDict)) return container.dict().find(budget, item) != nullptr;
  if (container.is(Kind::kIterator)) {
    Iterator& iterator = container.iterator();
    while (iterator.next < iterator.items.size())
      if (equal(budget, iterator.items[iterator.next++], item)) return true;
    return false;
  }
  const Values all = elements(budget, container);
  return std::any_of(all.begin(), all.end(),
                     [&](const Value& each) { return equal(budget, each, item); });
}

}  // namespace diffulex::jinja
