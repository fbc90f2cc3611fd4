// What a call is given, and how it is told apart by name.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/jinja/value.h"

namespace diffulex::jinja {

struct Arguments {
  Values positional;
  std::vector<std::pair<std::string, Value>> named;
};

// The arguments of a call by the names of its parameters. Errors: one too many, unknown, twice.
class Bound {
 public:
  // The names must outlive it.
  Bound(const Arguments& arguments, std::string_view who, std::vector<std::string_view> parameters);

  const Value* get(size_t index) const { return given_[index]; }  // null: not given
  const Value& need(size_t index) const;

  // Given, and not none; of a wrong type is an error.
  bool flag(size_t index, bool absent) const;
  std::optional<int64_t> integer(size_t index) const;
  const std::string* text(size_t index) const;

 private:
  [[noreturn]] void wrong(size_t index, std::string_view wanted) const;

  std::string who_;
  std::vector<std::string_view> parameters_;
  std::vector<const Value*> given_;  // by parameter
};

}  // namespace diffulex::jinja
