#include "text/word_split.h"

#include <array>
#include <utility>

#include "text/utf8.h"

namespace diffulex::text {
namespace {

constexpr std::array<std::pair<std::string_view, bool>, 3> kPatterns = {{
    // Qwen2
    {R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
     true},
    // Bailing
    {R"('(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+)",
     true},
    // Seed-Coder
    {R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+)",
     false},
}};

constexpr std::string_view kLongS = "\xC5\xBF";  // U+017F, an s when case is ignored

bool is_line_end(uint32_t code) { return code == '\n' || code == '\r'; }

char lower(std::string_view text, size_t pos) {
  const char c = pos < text.size() ? text[pos] : '\0';
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

// The end of 's, 't, 're, 've, 'm, 'll or 'd, in either case; `begin` when there is none.
size_t match_contraction(std::string_view text, size_t begin) {
  if (text[begin] != '\'') return begin;
  const char first = lower(text, begin + 1);
  const char second = lower(text, begin + 2);
  switch (first) {
    case 's':
    case 't':
    case 'm':
    case 'd':
      return begin + 2;
    case 'r':
    case 'v':
      return second == 'e' ? begin + 3 : begin;
    case 'l':
      return second == 'l' ? begin + 3 : begin;
    default:
      return text.substr(begin + 1, 2) == kLongS ? begin + 3 : begin;
  }
}

}  // namespace

std::optional<WordSplit> WordSplit::known(std::string_view pattern) {
  for (const auto& [text, symbols_take_lines] : kPatterns) {
    if (text == pattern) return WordSplit(symbols_take_lines);
  }
  return std::nullopt;
}

WordSplit::Char WordSplit::read(std::string_view text, size_t pos) const {
  if (pos >= text.size()) return {0, CharClass::kOther, 0};
  const Utf8Unit unit = read_valid_utf8(text, pos);
  return {unit.size, (*classes_)[unit.code], unit.code};
}

size_t WordSplit::skip(std::string_view text, size_t pos, CharClass kind) const {
  for (Char next = read(text, pos); next.size > 0 && next.kind == kind; next = read(text, pos)) {
    pos += next.size;
  }
  return pos;
}

size_t WordSplit::match(std::string_view text, size_t begin) const {
  const size_t contraction = match_contraction(text, begin);
  if (contraction > begin) return contraction;
  const Char first = read(text, begin);
  const size_t behind = begin + first.size;
  if (first.kind == CharClass::kLetter) return skip(text, behind, CharClass::kLetter);
  if (first.kind == CharClass::kNumber) return behind;
  const Char second = read(text, behind);
  if (second.size > 0 && second.kind == CharClass::kLetter && !is_line_end(first.code)) {
    return skip(text, behind + second.size, CharClass::kLetter);
  }
  if (first.kind == CharClass::kOther) return match_symbols(text, behind);
  if (first.code == ' ' && second.size > 0 && second.kind == CharClass::kOther) {
    return match_symbols(text, behind + second.size);
  }
  return match_spaces(text, begin);
}

// Goes on behind the first of the symbols.
size_t WordSplit::match_symbols(std::string_view text, size_t pos) const {
  pos = skip(text, pos, CharClass::kOther);
  while (symbols_take_lines_ && pos < text.size() && is_line_end(static_cast<uint8_t>(text[pos]))) {
    ++pos;
  }
  return pos;
}

// White space up to its last line end; without one, all but its last character, which belongs to
// what comes next.
size_t WordSplit::match_spaces(std::string_view text, size_t begin) const {
  size_t line = begin, last = begin, end = begin;
  for (Char next = read(text, end); next.size > 0 && next.kind == CharClass::kSpace;
       next = read(text, end)) {
    last = end;
    end += next.size;
    if (is_line_end(next.code)) line = end;
  }
  if (line > begin) return line;
  return end == text.size() || last == begin ? end : last;
}

}  // namespace diffulex::text
