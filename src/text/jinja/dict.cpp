#include "text/jinja/dict.h"

#include <algorithm>
#include <functional>
#include <string>

namespace diffulex::jinja {

size_t Dict::Hash::operator()(const Key& key) const {
  if (key.kind == Kind::kString) return std::hash<std::string_view>()(key.text);
  return std::hash<double>()(key.number);
}

Dict::Key Dict::key_of(const Value& value) {
  if (value.is(Kind::kString)) return {Kind::kString, 0, value.text()};
  if (value.is_number()) return {Kind::kFloat, value.as_real(), {}};
  if (value.is(Kind::kNone)) return {Kind::kNone, 0, {}};
  if (value.is(Kind::kList) || value.is(Kind::kDict))
    fail("a " + std::string(value.type_name()) + " cannot be a key");
  refuse("a key of type " + std::string(value.type_name()));
}

void Dict::set(Budget& budget, const Value& key, Value value) {
  budget.reading(key.is(Kind::kString) ? key.text().size() : 0);
  budget.bytes(sizeof(Entry));
  nesting_ = std::max(nesting_, checked_nesting(value.nesting() + 1));
  const Key at = key_of(key);
  const auto found = places_.find(at);
  if (found != places_.end()) {
    entries_[found->second].second = std::move(value);
    return;
  }
  entries_.emplace_back(key, std::move(value));  // shares the text that `at` looks at
  places_.emplace(at, entries_.size() - 1);
}

const Value* Dict::find(Budget& budget, const Value& key) const {
  budget.reading(key.is(Kind::kString) ? key.text().size() : 0);
  const auto found = places_.find(key_of(key));
  return found != places_.end() ? &entries_[found->second].second : nullptr;
}

const Value* Dict::find(std::string_view key) const {
  const auto found = places_.find(Key{Kind::kString, 0, key});
  return found != places_.end() ? &entries_[found->second].second : nullptr;
}

}  // namespace diffulex::jinja
