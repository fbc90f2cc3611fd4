#include "text/jinja/literal.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <cstdio>

#include "text/jinja/failure.h"
#include "text/utf8.h"

namespace diffulex::jinja {
namespace {

// ---- strings

// Reads what follows a backslash, as Python does.
class Escapes {
 public:
  explicit Escapes(std::string_view source) : source_(source) {}

  Literal read() {
    const char quote = source_.front();
    size_t at = 1;
    while (at < source_.size() && source_[at] != quote) at = next(at);
    if (at >= source_.size()) fail("a string is not closed");
    out_.size = at + 1;
    return std::move(out_);
  }

 private:
  size_t next(size_t at) {
    if (source_[at] != '\\') {
      out_.value += source_[at];
      return at + 1;
    }
    if (at + 1 >= source_.size()) fail("a string is not closed");
    return escape(at + 1);
  }

  size_t escape(size_t at) {
    constexpr std::string_view kNames = "\\'\"abfnrtv", kMeanings = "\\'\"\a\b\f\n\r\t\v";
    const char c = source_[at];
    if (c == '\n') return at + 1;
    const size_t known = kNames.find(c);
    if (known != std::string_view::npos) {
      out_.value += kMeanings[known];
      return at + 1;
    }
    if (c == 'x') return hexadecimal(at + 1, 2);
    if (c == 'u') return hexadecimal(at + 1, 4);
    if (c == 'U') return hexadecimal(at + 1, 8);
    if (c == 'N') refuse("a character by its name");
    return c >= '0' && c <= '7' ? octal(at) : unknown(at);
  }

  size_t hexadecimal(size_t at, size_t digits) {
    uint32_t code = 0;
    const std::string_view text = source_.substr(at, digits);
    const auto end = std::from_chars(text.data(), text.data() + text.size(), code, 16);
    if (text.size() < digits || end.ec != std::errc() || end.ptr != text.data() + digits)
      fail("an escape in a string lacks hexadecimal digits");
    append(code);
    return at + digits;
  }

  size_t octal(size_t at) {
    uint32_t code = 0;
    const size_t begin = at;
    while (at < source_.size() && at < begin + 3 && source_[at] >= '0' && source_[at] <= '7')
      code = code * 8 + static_cast<uint32_t>(source_[at++] - '0');
    append(code);
    return at;
  }

  // Stays as it is; behind a backslash Jinja spells what is not ASCII by its number.
  size_t unknown(size_t at) {
    out_.value += '\\';
    const text::Utf8Unit unit = text::read_utf8(source_, at);
    if (unit.code < 0x80) {
      out_.value += source_[at];
      return at + 1;
    }
    std::array<char, 12> spelt{};
    const char* form = unit.code < 0x100 ? "x%02x" : unit.code < 0x10000 ? "u%04x" : "U%08x";
    std::snprintf(spelt.data(), spelt.size(), form, unit.code);  // NOLINT: the forms above
    out_.value += spelt.data();
    return at + unit.size;
  }

  void append(uint32_t code) {
    if (code > 0x10FFFF) fail("an escape in a string is no character");
    if (code >= 0xD800 && code < 0xE000) refuse("half of a surrogate pair in a string");
    text::append_utf8(code, out_.value);
  }

  std::string_view source_;
  Literal out_;
};

// ---- numbers

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// Digits with single '_' between them, from `at` on; the first place behind them.
size_t skip_digits(std::string_view source, size_t at) {
  while (at < source.size()) {
    const bool joined = source[at] == '_' && at > 0 && is_digit(source[at - 1]) &&
                        at + 1 < source.size() && is_digit(source[at + 1]);
    if (!is_digit(source[at]) && !joined) break;
    ++at;
  }
  return at;
}

bool has_digit(std::string_view source, size_t at) {
  return at < source.size() && is_digit(source[at]);
}

// Where a fraction or an exponent ends; `at` where there is none.
size_t skip_fraction(std::string_view source, size_t at) {
  if (at < source.size() && source[at] == '.' && has_digit(source, at + 1))
    return skip_digits(source, at + 1);
  return at;
}

size_t skip_exponent(std::string_view source, size_t at) {
  if (at >= source.size() || (source[at] != 'e' && source[at] != 'E')) return at;
  const bool has_sign = at + 1 < source.size() && (source[at + 1] == '+' || source[at + 1] == '-');
  const size_t digits = at + (has_sign ? 2 : 1);
  return has_digit(source, digits) ? skip_digits(source, digits) : at;
}

std::string plain(std::string_view digits) {
  std::string out(digits);
  std::erase(out, '_');
  return out;
}

bool has_prefix(std::string_view source) {
  constexpr std::string_view kPrefixes = "xXoObB";
  return source.size() > 1 && source[0] == '0' &&
         kPrefixes.find(source[1]) != std::string_view::npos;
}

}  // namespace

Literal read_string_literal(std::string_view source) { return Escapes(source).read(); }

Literal read_number_literal(std::string_view source, bool after_point) {
  if (has_prefix(source)) refuse("an integer that is not in base ten");
  const size_t integer = skip_digits(source, 0);
  const size_t end = after_point ? integer : skip_exponent(source, skip_fraction(source, integer));
  const std::string text = plain(source.substr(0, end));
  if (end == integer && text.size() > 1 && text.front() == '0' &&
      text.find_first_not_of('0') != std::string::npos)
    fail("the integer " + text + " begins with 0");
  return {text, end, end > integer};
}

}  // namespace diffulex::jinja
