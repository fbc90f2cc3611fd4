// Typed access to config.json. Problems are collected, so that one report names every bad key.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/dtype.h"
#include "base/problem_list.h"

namespace diffulex {

// A key with a dot looks into a nested object: "rope_parameters.rope_theta". Unless said otherwise
// null counts as absent. After a problem a reader returns some valid value; check() then throws.
class ConfigReader {
 public:
  // Sizes above this are typing errors; the limit keeps later products inside 64 bits.
  static constexpr int kMaxSize = 1 << 22;

  ConfigReader(const nlohmann::json& config, std::string path);

  bool contains(std::string_view key) const;  // present, perhaps null
  bool has(std::string_view key) const;       // present and not null

  int size(std::string_view key, int limit = kMaxSize);  // required; 1..limit
  int size_or(std::string_view key, int fallback, int limit = kMaxSize);
  double positive_or(std::string_view key, double fallback);
  bool flag_or(std::string_view key, bool fallback);
  std::string text_or(std::string_view key, std::string_view fallback);
  DType dtype_or(DType fallback);  // torch_dtype, newer: dtype

  std::optional<int64_t> token(std::string_view key);        // one id
  std::vector<int64_t> token_list(std::string_view key);     // one id, a list of ids, or absent
  std::vector<std::string> text_list(std::string_view key);  // a list or absent

  void malformed(std::string_view key, const std::string& what);
  void unsupported(std::string_view key, const std::string& what);
  // A flag that has this value.
  void refuse_flag(std::string_view key, bool value, std::string_view what);
  void refuse_values(std::string_view key, std::string_view what);  // anything but null or {}

  // Throws one Error for all keys: MODEL_FORMAT when any is missing or malformed, else
  // MODEL_UNSUPPORTED.
  void check() const { problems_.check(path_); }

 private:
  const nlohmann::json* find(std::string_view key) const;   // nullptr: absent; may point to null
  const nlohmann::json* value(std::string_view key) const;  // nullptr: absent or null
  void add(diffulex_status status, std::string_view key, const std::string& what);
  std::string misspelling_of(std::string_view key) const;  // a key that may be meant; or empty

  const nlohmann::json& config_;
  std::string path_;
  std::set<std::string> bad_keys_;
  ProblemList problems_;
};

}  // namespace diffulex
