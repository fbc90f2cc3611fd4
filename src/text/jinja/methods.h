// The methods of strings and dicts.
#pragma once

#include <optional>
#include <string_view>

#include "text/jinja/callable.h"
#include "text/jinja/value.h"

namespace diffulex::jinja {

// The method as a value that can be called. One that Python has and this has not is found, too: it
// is an error to call it. Nothing: Python has none of that name.
std::optional<Value> find_method(const Value& self, std::string_view name);

struct MethodEntry {
  std::string_view name;
  Method::Body body;  // null: not covered
};

const MethodEntry* find_string_method(std::string_view name);
const MethodEntry* find_dict_method(std::string_view name);
const MethodEntry* find_list_method(std::string_view name);

}  // namespace diffulex::jinja
