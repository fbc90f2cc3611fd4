// Values as text.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "text/jinja/budget.h"
#include "text/jinja/value.h"

namespace diffulex::jinja {

// As Python's str: what a template prints.
void write_string(Budget& budget, const Value& value, std::string& out);
std::string to_string(Budget& budget, const Value& value);

// With &, <, >, ' and " as HTML wants them, unless the value is markup.
std::string to_markup(Budget& budget, const Value& value);

struct JsonStyle {
  bool ascii = false;
  std::optional<std::string> indent;  // of one level; none: all in one line
  std::string item_separator = ", ", key_separator = ": ";
  bool sort_keys = false;
};

// As json.dumps. Errors: a value that JSON does not know.
std::string to_json(Budget& budget, const Value& value, const JsonStyle& style);

}  // namespace diffulex::jinja
