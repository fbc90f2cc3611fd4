#include "base/options.h"

#include <charconv>
#include <cmath>
#include <limits>

#include "base/error.h"

namespace diffulex {
namespace {

bool parse_number(std::string_view text, double* out) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *out);
  return error == std::errc() && end == text.data() + text.size() && std::isfinite(*out);
}

bool parse_flag(std::string_view text, double* out) {
  *out = text == "true" || text == "1" ? 1 : 0;
  return text == "true" || text == "1" || text == "false" || text == "0";
}

// The place of a value in "one, two, three", -1 when it is not there.
int choice(std::string_view allowed, std::string_view text) {
  for (int i = 0; !allowed.empty(); ++i) {
    const size_t comma = allowed.find(", ");
    if (allowed.substr(0, comma) == text) return i;
    allowed = comma == std::string_view::npos ? "" : allowed.substr(comma + 2);
  }
  return -1;
}

// The value as a number (strings: the choice's place); false when the text is not of the option's
// type and range.
bool parse(const OptionSpec& spec, std::string_view text, double* out) {
  *out = 0;
  switch (spec.type) {
    case OptionType::kString:
      *out = choice(spec.allowed, text);
      return *out >= 0;
    case OptionType::kBool:
      return parse_flag(text, out);
    case OptionType::kInt:
      return parse_number(text, out) && *out == std::floor(*out) && *out >= spec.min &&
             *out <= spec.max;
    case OptionType::kFloat:
      return parse_number(text, out) && *out >= spec.min && *out <= spec.max;
  }
  return false;
}

std::string known_keys(std::span<const OptionSpec> specs) {
  std::string keys;
  for (const OptionSpec& spec : specs) keys.append(keys.empty() ? "" : ", ").append(spec.key);
  return keys;
}

}  // namespace

OptionValues::OptionValues(std::span<const OptionSpec> specs)
    : specs_(specs), values_(specs.size()) {
  for (size_t i = 0; i < specs.size(); ++i) {
    values_[i].text = specs[i].default_value;
    const bool derived =
        values_[i].text.empty() || !parse(specs[i], values_[i].text, &values_[i].number);
    if (derived)
      values_[i].number =
          specs[i].type == OptionType::kFloat ? std::numeric_limits<double>::quiet_NaN() : 0;
  }
}

size_t OptionValues::index_of(std::string_view key) const {
  for (size_t i = 0; i < specs_.size(); ++i)
    if (key == specs_[i].key) return i;
  return specs_.size();
}

void OptionValues::set(std::string_view owner, std::string_view key, std::string_view value) {
  const size_t i = index_of(key);
  const std::string name = std::string(owner) + " option '" + std::string(key) + "'";
  if (i == specs_.size()) {
    const std::string keys = known_keys(specs_);
    throw Error(DIFFULEX_E_UNKNOWN_OPTION,
                "unknown " + name + "; known: " + (keys.empty() ? "none" : keys))
        .with("option", std::string(key))
        .with("allowed", keys);
  }
  double number = 0;
  if (!parse(specs_[i], value, &number))
    throw Error(DIFFULEX_E_INVALID_ARGUMENT,
                name + " cannot be '" + std::string(value) + "'; allowed: " + specs_[i].allowed)
        .with("option", std::string(key))
        .with("allowed", specs_[i].allowed);
  Value& slot = values_[i];
  const bool same =
      specs_[i].type == OptionType::kString ? slot.text == value : slot.number == number;
  if (slot.present && !same)
    throw Error(DIFFULEX_E_INVALID_ARGUMENT,
                name + " is set twice: to '" + slot.text + "' and to '" + std::string(value) + "'")
        .with("option", std::string(key));
  slot = Value{std::string(value), number, true};
}

bool OptionValues::require(std::string_view owner, std::string_view key, std::string_view value,
                           std::string_view reason) {
  Value& slot = values_[index_of(key)];
  const OptionSpec& spec = specs_[index_of(key)];
  double number = 0;
  parse(spec, value, &number);
  if (slot.number == number) return false;
  if (slot.present)
    throw Error(DIFFULEX_E_INVALID_ARGUMENT, std::string(owner) + " requires " + spec.key + " = " +
                                                 std::string(value) + ", but it is set to '" +
                                                 slot.text + "': " + std::string(reason))
        .with("option", spec.key)
        .with("contradicts", "strategy");
  slot = Value{std::string(value), number, false};
  return true;
}

void OptionValues::seal() {
  for (Value& value : values_) value.present = false;
}

bool OptionValues::is_set(std::string_view key) const {
  const size_t i = index_of(key);
  return i < specs_.size() && values_[i].present;
}

bool OptionValues::flag(std::string_view key) const { return number(key) != 0; }

int64_t OptionValues::integer(std::string_view key) const {
  return static_cast<int64_t>(number(key));
}

double OptionValues::number(std::string_view key) const {
  const size_t i = index_of(key);
  return i < specs_.size() ? values_[i].number : std::numeric_limits<double>::quiet_NaN();
}

}  // namespace diffulex
