// Templates rendered for tests.
#pragma once

#include <string>
#include <string_view>

#include "text/jinja/from_json.h"
#include "text/jinja/template.h"

namespace diffulex::jinja {

inline Value parse(std::string_view json) {
  Budget budget{Limits{}};
  return from_json(budget, json);
}

// variables: a JSON object. Times are that of the golden file.
inline std::string render(std::string_view source, std::string_view variables = "{}",
                          const Limits& limits = {}) {
  constexpr std::time_t kNow = 1'700'000'000;
  return Template(source, "dir/test.jinja").render(parse(variables).dict(), kNow, limits);
}

}  // namespace diffulex::jinja
