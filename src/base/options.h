// Options that describe themselves: one table drives parsing, checks, error texts,
// diffulex_*_option and the documentation.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace diffulex {

enum class OptionType : int32_t {
  kBool = 0,
  kInt = 1,
  kFloat = 2,
  kString = 3  // one of the allowed values
};             // DIFFULEX_OPTION_*

struct OptionSpec {
  const char* key;
  OptionType type;
  const char* default_value;  // as text; "" = derived, the summary says from what
  const char* allowed;        // range or values, as text; of a string "one, two, ..."
  const char* summary;
  double min = 0;  // of numbers, both inclusive
  double max = 0;
};

// Values of the options of one table. Reads give the default until a value is set.
class OptionValues {
 public:
  explicit OptionValues(std::span<const OptionSpec> specs);

  // Throws Error: DIFFULEX_E_UNKNOWN_OPTION, DIFFULEX_E_INVALID_ARGUMENT (mistyped, out of range,
  // or set twice to different values within one source). owner names the table in messages, e.g.
  // "engine" or "strategy 'multi_bd'".
  void set(std::string_view owner, std::string_view key, std::string_view value);
  // Gives an option that nobody set the value it must have; true when that is not its default.
  // Throws Error(DIFFULEX_E_INVALID_ARGUMENT) naming both sides when it was set to another one.
  bool require(std::string_view owner, std::string_view key, std::string_view value,
               std::string_view reason);
  // Forgets which options count as set, keeping their values as the new defaults.
  void seal();

  bool is_set(std::string_view key) const;
  bool flag(std::string_view key) const;
  // 0 when the default is derived. Of a string: its place among the allowed values, from 0.
  int64_t integer(std::string_view key) const;
  double number(std::string_view key) const;  // NaN when the default is derived
  std::span<const OptionSpec> specs() const { return specs_; }

 private:
  struct Value {
    std::string text;
    double number = 0;
    bool present = false;
  };
  size_t index_of(std::string_view key) const;

  std::span<const OptionSpec> specs_;
  std::vector<Value> values_;
};

}  // namespace diffulex
