#include "text/jinja/number.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <limits>

#include "text/jinja/characters.h"
#include "text/jinja/failure.h"

namespace diffulex::jinja {
namespace {

[[noreturn]] void too_large() { refuse("an integer of more than 64 bits"); }

[[noreturn]] void by_zero() { fail("division by zero"); }

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// Without the '_' between digits; nothing where one stands elsewhere.
std::optional<std::string> without_underscores(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '_') {
      out += text[i];
    } else if (i == 0 || i + 1 == text.size() || !is_digit(text[i - 1]) || !is_digit(text[i + 1])) {
      return std::nullopt;
    }
  }
  return out;
}

// What int() and float() read of a text: no spaces around it, no '_', no plus sign.
std::optional<std::string> number_text(std::string_view text) {
  std::optional<std::string> digits = without_underscores(strip(text, {}, Side::kBoth));
  if (!digits) return std::nullopt;
  const bool plus = digits->starts_with('+');
  if (plus) digits->erase(0, 1);
  if (digits->empty() || (plus && digits->front() == '-')) return std::nullopt;
  return digits;
}

// Whether a number that no double holds is too large, and not too small. The process may have any
// locale, so the C library is not asked.
bool is_large(std::string_view digits) {
  const size_t mark = std::min(digits.find_first_of("eE"), digits.size());
  const std::string_view mantissa = digits.substr(0, mark);
  int64_t exponent = 0;
  if (mark < digits.size()) {
    std::string_view power = digits.substr(mark + 1);
    if (power.starts_with('+')) power.remove_prefix(1);
    const auto end = std::from_chars(power.data(), power.data() + power.size(), exponent);
    if (end.ec == std::errc::result_out_of_range) return !power.starts_with('-');
  }
  const size_t point = std::min(mantissa.find('.'), mantissa.size());
  const size_t first = std::min(mantissa.find_first_of("123456789"), mantissa.size());
  return exponent + static_cast<int64_t>(point) - static_cast<int64_t>(first) > 0;
}

// `digits` (one before the point) times ten to the `exponent`, written without an exponent.
std::string plain_notation(const std::string& digits, int exponent) {
  const int count = static_cast<int>(digits.size());
  if (exponent < 0) return "0." + std::string(static_cast<size_t>(-exponent - 1), '0') + digits;
  if (exponent + 1 >= count)
    return digits + std::string(static_cast<size_t>(exponent + 1 - count), '0') + ".0";
  const auto point = static_cast<size_t>(exponent) + 1;
  return digits.substr(0, point) + "." + digits.substr(point);
}

std::string exponent_notation(const std::string& digits, int exponent) {
  std::string out = digits.substr(0, 1);
  if (digits.size() > 1) out += "." + digits.substr(1);
  const std::string size = std::to_string(std::abs(exponent));
  out += exponent < 0 ? "e-" : "e+";
  return out + (size.size() < 2 ? "0" : "") + size;
}

}  // namespace

std::string format_real(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  std::array<char, 40> buffer{};
  const auto end =
      std::to_chars(buffer.begin(), buffer.end(), std::fabs(value), std::chars_format::scientific);
  const std::string_view shortest(buffer.data(), static_cast<size_t>(end.ptr - buffer.data()));
  const size_t mark = shortest.find('e');
  std::string digits;
  for (const char c : shortest.substr(0, mark))
    if (c != '.') digits += c;
  const int exponent = std::atoi(std::string(shortest.substr(mark + 1)).c_str());
  const bool plain = exponent >= -4 && exponent < 16;
  const std::string out =
      plain ? plain_notation(digits, exponent) : exponent_notation(digits, exponent);
  return std::signbit(value) ? "-" + out : out;
}

std::optional<int64_t> parse_integer(std::string_view text) {
  const std::optional<std::string> digits = number_text(text);
  if (!digits) return std::nullopt;
  int64_t value = 0;
  const auto end = std::from_chars(digits->data(), digits->data() + digits->size(), value);
  if (end.ptr != digits->data() + digits->size()) return std::nullopt;
  if (end.ec == std::errc::result_out_of_range) too_large();
  return end.ec == std::errc() ? std::optional(value) : std::nullopt;
}

std::optional<double> parse_real(std::string_view text) {
  const std::optional<std::string> digits = number_text(text);
  if (!digits) return std::nullopt;
  if (digits->find('(') != std::string::npos) return std::nullopt;  // "nan(1)" is not Python's
  double value = 0;
  const auto end = std::from_chars(digits->data(), digits->data() + digits->size(), value);
  if (end.ptr != digits->data() + digits->size()) return std::nullopt;
  if (end.ec == std::errc::result_out_of_range) {
    value = is_large(*digits) ? std::numeric_limits<double>::infinity() : 0.0;
    return digits->front() == '-' ? -value : value;
  }
  return end.ec == std::errc() ? std::optional(value) : std::nullopt;
}

int64_t add_integers(int64_t a, int64_t b) {
  int64_t result = 0;
  if (__builtin_add_overflow(a, b, &result)) too_large();
  return result;
}

int64_t subtract_integers(int64_t a, int64_t b) {
  int64_t result = 0;
  if (__builtin_sub_overflow(a, b, &result)) too_large();
  return result;
}

int64_t multiply_integers(int64_t a, int64_t b) {
  int64_t result = 0;
  if (__builtin_mul_overflow(a, b, &result)) too_large();
  return result;
}

int64_t floor_divide(int64_t a, int64_t b) {
  if (b == 0) by_zero();
  if (b == -1) return subtract_integers(0, a);
  const int64_t quotient = a / b;
  return a % b != 0 && (a < 0) != (b < 0) ? quotient - 1 : quotient;
}

int64_t modulo(int64_t a, int64_t b) {
  if (b == 0) by_zero();
  if (b == -1) return 0;
  const int64_t rest = a % b;
  return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
}

int64_t power(int64_t base, int64_t exponent) {
  int64_t result = 1;
  while (exponent > 0) {
    if ((exponent & 1) != 0) result = multiply_integers(result, base);
    exponent >>= 1;
    if (exponent > 0) base = multiply_integers(base, base);
  }
  return result;
}

double modulo(double a, double b) {
  if (b == 0) by_zero();
  const double rest = std::fmod(a, b);
  if (rest == 0) return std::copysign(0.0, b);
  return (rest < 0) != (b < 0) ? rest + b : rest;
}

// Through the remainder, so that quotient and remainder fit each other.
double floor_divide(double a, double b) {
  const double rest = modulo(a, b);
  const double quotient = (a - rest) / b;
  if (quotient == 0) return std::copysign(0.0, a / b);
  const double floored = std::floor(quotient);
  return quotient - floored > 0.5 ? floored + 1 : floored;
}

double round_real(double value, int digits) {
  if (!std::isfinite(value)) return value;
  constexpr int kMostDigits = std::numeric_limits<double>::max_exponent10 + 1 + 300;
  std::array<char, kMostDigits + 8> text{};  // a sign and a point as well
  const auto end = std::to_chars(text.begin(), text.end(), value, std::chars_format::fixed, digits);
  double rounded = value;
  std::from_chars(text.begin(), end.ptr, rounded);
  return rounded;
}

int64_t truncate(double value) {
  if (!std::isfinite(value)) fail("cannot convert " + format_real(value) + " to an integer");
  if (std::fabs(value) >= 0x1p63) too_large();
  return static_cast<int64_t>(value);
}

}  // namespace diffulex::jinja
