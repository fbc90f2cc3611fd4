#include "text/jinja/methods.h"

#include <algorithm>
#include <array>
#include <memory>
#include <string>

#include "text/jinja/dict.h"

namespace diffulex::jinja {
namespace {

template <Kind kind>
Value view(Run& run, const Value& self, const Arguments& arguments) {
  const Bound none(arguments, "a view of a dict", {});
  Values items;
  for (const auto& [key, value] : self.dict().entries()) {
    if (kind == Kind::kItems) {
      items.push_back(Value::pair(run.budget, key, value));
    } else {
      items.push_back(kind == Kind::kKeys ? key : value);
    }
  }
  return Value::sequence(run.budget, kind, std::move(items));
}

Value get(Run& run, const Value& self, const Arguments& arguments) {
  if (!arguments.named.empty()) fail("get takes no named arguments");
  const Bound bound(arguments, "get", {"key", "default"});
  const Value* found = self.dict().find(run.budget, bound.need(0));
  if (found != nullptr) return *found;
  return bound.get(1) != nullptr ? *bound.get(1) : Value();
}

constexpr auto kDictMethods = std::to_array<MethodEntry>({{"items", view<Kind::kItems>},
                                                          {"keys", view<Kind::kKeys>},
                                                          {"values", view<Kind::kValues>},
                                                          {"get", get},
                                                          {"clear", nullptr},
                                                          {"copy", nullptr},
                                                          {"fromkeys", nullptr},
                                                          {"pop", nullptr},
                                                          {"popitem", nullptr},
                                                          {"setdefault", nullptr},
                                                          {"update", nullptr}});

// Those that change a list are refused by everybody; the others nobody seems to need.
constexpr auto kListMethods = std::to_array<MethodEntry>({{"append", nullptr},
                                                          {"clear", nullptr},
                                                          {"copy", nullptr},
                                                          {"count", nullptr},
                                                          {"extend", nullptr},
                                                          {"index", nullptr},
                                                          {"insert", nullptr},
                                                          {"pop", nullptr},
                                                          {"remove", nullptr},
                                                          {"reverse", nullptr},
                                                          {"sort", nullptr}});

template <size_t size>
const MethodEntry* find_in(const std::array<MethodEntry, size>& entries, std::string_view name) {
  const auto* at = std::find_if(entries.begin(), entries.end(),
                                [&](const MethodEntry& entry) { return entry.name == name; });
  return at != entries.end() ? at : nullptr;
}

const MethodEntry* find_entry(const Value& self, std::string_view name) {
  if (self.is(Kind::kString)) return find_string_method(name);
  if (self.is(Kind::kDict)) return find_dict_method(name);
  if (self.is(Kind::kList)) return find_list_method(name);
  if (self.is(Kind::kTuple) && (name == "count" || name == "index")) return find_list_method(name);
  return nullptr;
}

}  // namespace

const MethodEntry* find_dict_method(std::string_view name) { return find_in(kDictMethods, name); }

const MethodEntry* find_list_method(std::string_view name) { return find_in(kListMethods, name); }

std::optional<Value> find_method(const Value& self, std::string_view name) {
  const MethodEntry* entry = find_entry(self, name);
  if (entry == nullptr) return std::nullopt;
  if (self.markup()) refuse("a method of markup");
  return Value::callable(std::make_shared<const Method>(std::string(name), self, entry->body));
}

}  // namespace diffulex::jinja
