// Reading JSON that somebody else wrote. Every failure is an Error that names the file.
#pragma once

#include <memory>
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

// A document that goes away without taking memory: the destructor of nlohmann::json alone takes
// some, and ends the process where there is none.
class JsonDocument {
 public:
  JsonDocument();  // null
  ~JsonDocument();
  JsonDocument(JsonDocument&& other) noexcept;
  JsonDocument& operator=(JsonDocument&& other) noexcept;

  const nlohmann::json& root() const { return *root_; }

 private:
  friend JsonDocument parse_json(std::string_view, const std::string&, const JsonRules&);
  std::unique_ptr<nlohmann::json> root_;
};

// path is for messages only.
JsonDocument parse_json(std::string_view text, const std::string& path,
                        const JsonRules& rules = {});

// As above, but also refuses a text that is not an object.
JsonDocument parse_json_object(std::string_view text, const std::string& path,
                               const JsonRules& rules = {});
JsonDocument read_json_object(const std::string& path, const JsonRules& rules = {});

}  // namespace diffulex
