// A value inside a JSON file that knows its file and key, for errors that name both.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace diffulex::text {

// Ids above this are taken for damage: tables are as long as the greatest id.
inline constexpr int32_t kMaxTokenId = (1 << 24) - 1;

// Every wrong type, missing key or broken file is thrown as DIFFULEX_E_TOKENIZER naming file and
// key.
class JsonNode {
 public:
  // Reads the file; DIFFULEX_E_IO when that fails.
  static JsonNode load(const std::string& path);

  const std::string& path() const;
  const nlohmann::json& value() const { return *value_; }

  bool is_null() const;
  bool is_string() const;
  bool is_array() const;
  bool is_object() const;

  // Whether this is an object with the key, even with null.
  bool states(const std::string& name) const;
  // Whether this is an object with the key and something else than null.
  bool has(const std::string& name) const;
  JsonNode at(const std::string& name) const;
  JsonNode item(size_t index) const;
  size_t size() const;

  const std::string& text() const;
  bool flag() const;
  int32_t token_id() const;

  // A member; absent or null means the default.
  bool flag_or(const std::string& name, bool absent) const;
  std::string text_or(const std::string& name, std::string_view absent) const;

  [[noreturn]] void fail(const std::string& problem) const;

 private:
  struct File;
  JsonNode(std::shared_ptr<const File> file, const nlohmann::json* value, std::string key);

  std::shared_ptr<const File> file_;
  const nlohmann::json* value_;
  std::string key_;  // "model.vocab"; empty: the whole file
};

}  // namespace diffulex::text
