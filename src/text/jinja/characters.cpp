#include "text/jinja/characters.h"

#include <string.h>  // memmem: linear time in libraries that matter, unlike string_view::find
#include <utf8proc.h>

#include <algorithm>

#include "text/utf8.h"

namespace diffulex::jinja {
namespace {

using text::read_utf8;
using text::read_utf8_before;
using text::Utf8Unit;

bool starts_character(char byte) { return (static_cast<unsigned char>(byte) & 0xC0) != 0x80; }

bool in_set(uint32_t code, std::string_view character, std::optional<std::string_view> set) {
  return set ? set->find(character) != std::string_view::npos : is_space(code);
}

// Pieces that are paid for as they come.
class PiecesOf {
 public:
  explicit PiecesOf(Budget& budget) : budget_(budget) {}

  void add(std::string_view piece) {
    budget_.bytes(sizeof(std::string_view));
    pieces_.push_back(piece);
  }

  // Always true for a negative limit.
  bool fewer_than(int64_t limit) const {
    return limit < 0 || static_cast<int64_t>(pieces_.size()) < limit;
  }

  Pieces take() { return std::move(pieces_); }
  Pieces take_reversed() {
    std::reverse(pieces_.begin(), pieces_.end());
    return take();
  }

 private:
  Budget& budget_;
  Pieces pieces_;
};

bool ends_line(uint32_t code) {
  return (code >= 0x0A && code <= 0x0D) || (code >= 0x1C && code <= 0x1E) || code == 0x85 ||
         code == 0x2028 || code == 0x2029;
}

}  // namespace

size_t character_count(std::string_view text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), starts_character));
}

Pieces characters(Budget& budget, std::string_view text) {
  PiecesOf out(budget);
  for (size_t at = 0; at < text.size();) {
    const size_t size = read_utf8(text, at).size;
    out.add(text.substr(at, size));
    at += size;
  }
  return out.take();
}

bool is_space(uint32_t code) {
  return (code >= 0x1C && code <= 0x1F) || text::is_white_space(code);
}

bool is_printable(uint32_t code) {
  if (code == ' ') return true;
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(code))) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
    case UTF8PROC_CATEGORY_ZS:
      return false;
    default:
      return true;
  }
}

std::string_view strip(std::string_view text, std::optional<std::string_view> set, Side side) {
  while (side != Side::kRight && !text.empty()) {
    const Utf8Unit unit = read_utf8(text, 0);
    if (!in_set(unit.code, text.substr(0, unit.size), set)) break;
    text.remove_prefix(unit.size);
  }
  while (side != Side::kLeft && !text.empty()) {
    const Utf8Unit unit = read_utf8_before(text, text.size());
    if (!in_set(unit.code, text.substr(text.size() - unit.size), set)) break;
    text.remove_suffix(unit.size);
  }
  return text;
}

size_t find(std::string_view text, std::string_view part, size_t from) {
  if (from > text.size()) return std::string_view::npos;
  if (part.empty()) return from;
  if (text.size() - from < part.size()) return std::string_view::npos;
  const void* found = memmem(text.data() + from, text.size() - from, part.data(), part.size());
  if (found == nullptr) return std::string_view::npos;
  return static_cast<size_t>(static_cast<const char*>(found) - text.data());
}

Pieces split(Budget& budget, std::string_view text, std::string_view separator, int64_t limit) {
  PiecesOf out(budget);
  size_t begin = 0;
  while (out.fewer_than(limit)) {
    const size_t at = find(text, separator, begin);
    if (at == std::string_view::npos) break;
    out.add(text.substr(begin, at - begin));
    begin = at + separator.size();
  }
  out.add(text.substr(begin));
  return out.take();
}

// The separators that a search from the right finds.
Pieces split_right(Budget& budget, std::string_view text, std::string_view separator,
                   int64_t limit) {
  PiecesOf out(budget);
  while (out.fewer_than(limit)) {
    const size_t at = text.rfind(separator);
    if (at == std::string_view::npos) break;
    out.add(text.substr(at + separator.size()));
    text = text.substr(0, at);
  }
  out.add(text);
  return out.take_reversed();
}

Pieces split_spaces(Budget& budget, std::string_view text, int64_t limit) {
  PiecesOf out(budget);
  while (true) {
    text = strip(text, {}, Side::kLeft);
    if (text.empty()) return out.take();
    if (!out.fewer_than(limit)) break;
    size_t end = 0;
    while (end < text.size()) {
      const Utf8Unit unit = read_utf8(text, end);
      if (is_space(unit.code)) break;
      end += unit.size;
    }
    out.add(text.substr(0, end));
    text.remove_prefix(end);
  }
  out.add(text);
  return out.take();
}

Pieces split_spaces_right(Budget& budget, std::string_view text, int64_t limit) {
  PiecesOf out(budget);
  while (true) {
    text = strip(text, {}, Side::kRight);
    if (text.empty() || !out.fewer_than(limit)) break;
    size_t begin = text.size();
    while (begin > 0) {
      const Utf8Unit unit = read_utf8_before(text, begin);
      if (is_space(unit.code)) break;
      begin -= unit.size;
    }
    out.add(text.substr(begin));
    text = text.substr(0, begin);
  }
  if (!text.empty()) out.add(text);
  return out.take_reversed();
}

Pieces split_lines(Budget& budget, std::string_view text, bool keep_ends) {
  PiecesOf out(budget);
  size_t begin = 0;
  for (size_t at = 0; at < text.size();) {
    const Utf8Unit unit = read_utf8(text, at);
    size_t next = at + unit.size;
    if (ends_line(unit.code)) {
      if (unit.code == '\r' && next < text.size() && text[next] == '\n') ++next;
      out.add(text.substr(begin, (keep_ends ? next : at) - begin));
      begin = next;
    }
    at = next;
  }
  if (begin < text.size()) out.add(text.substr(begin));
  return out.take();
}

}  // namespace diffulex::jinja
