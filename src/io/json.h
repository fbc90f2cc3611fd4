// Reading JSON that somebody else wrote. Every failure is an Error that names the file.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "diffulex.h"

namespace diffulex {

struct JsonRules {
  diffulex_status status = DIFFULEX_E_MODEL_FORMAT;  // of a malformed text
  bool unique_keys = true;  // refuse repeated keys; the parser alone keeps the last one silently
  int max_depth = 64;
};

// path is for messages only.
nlohmann::json parse_json(std::string_view text, const std::string& path,
                          const JsonRules& rules = {});

// As above, but also refuses a text that is not an object.
nlohmann::json parse_json_object(std::string_view text, const std::string& path,
                                 const JsonRules& rules = {});
nlohmann::json read_json_object(const std::string& path, const JsonRules& rules = {});

}  // namespace diffulex
