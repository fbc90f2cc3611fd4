#include "text/utf8.h"

#include <algorithm>
#include <iterator>

#include "text/char_ranges.h"

namespace diffulex::text {
namespace {

struct Lead {
  uint8_t size;        // of the whole sequence; 0: no sequence starts with this byte
  uint8_t low, high;   // range of the second byte
  uint8_t value_mask;  // of the lead byte
};

Lead classify_lead(uint8_t byte) {
  if (byte >= 0xC2 && byte <= 0xDF) return {2, 0x80, 0xBF, 0x1F};
  if (byte == 0xE0) return {3, 0xA0, 0xBF, 0x0F};
  if (byte == 0xED) return {3, 0x80, 0x9F, 0x0F};  // no surrogates
  if (byte >= 0xE1 && byte <= 0xEF) return {3, 0x80, 0xBF, 0x0F};
  if (byte == 0xF0) return {4, 0x90, 0xBF, 0x07};
  if (byte >= 0xF1 && byte <= 0xF3) return {4, 0x80, 0xBF, 0x07};
  if (byte == 0xF4) return {4, 0x80, 0x8F, 0x07};  // nothing above U+10FFFF
  return {0, 0, 0, 0};
}

}  // namespace

Utf8Unit read_utf8(std::string_view text, size_t pos) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  const uint8_t first = byte(pos);
  if (first < 0x80) return {first, 1, Utf8Unit::kValid};
  const Lead lead = classify_lead(first);
  if (lead.size == 0) return {0, 1, Utf8Unit::kInvalid};
  uint32_t code = first & lead.value_mask;
  for (uint8_t i = 1; i < lead.size; ++i) {
    if (pos + i >= text.size()) return {0, i, Utf8Unit::kIncomplete};
    const uint8_t next = byte(pos + i);
    const uint8_t low = i == 1 ? lead.low : 0x80;
    const uint8_t high = i == 1 ? lead.high : 0xBF;
    if (next < low || next > high) return {0, i, Utf8Unit::kInvalid};
    code = (code << 6) | (next & 0x3F);
  }
  return {code, lead.size, Utf8Unit::kValid};
}

Utf8Unit read_utf8_before(std::string_view text, size_t pos) {
  size_t begin = pos - 1;
  while (begin > 0 && (static_cast<uint8_t>(text[begin]) & 0xC0) == 0x80) --begin;
  return read_utf8(text.substr(0, pos), begin);
}

void append_utf8(uint32_t code, std::string& out) {
  const auto put = [&out](uint32_t byte) { out.push_back(static_cast<char>(byte)); };
  if (code < 0x80) {
    put(code);
  } else if (code < 0x800) {
    put(0xC0 | (code >> 6));
    put(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    put(0xE0 | (code >> 12));
    put(0x80 | ((code >> 6) & 0x3F));
    put(0x80 | (code & 0x3F));
  } else {
    put(0xF0 | (code >> 18));
    put(0x80 | ((code >> 12) & 0x3F));
    put(0x80 | ((code >> 6) & 0x3F));
    put(0x80 | (code & 0x3F));
  }
}

void append_repaired(std::string_view text, std::string& out) {
  out.reserve(out.size() + text.size());
  size_t sound = 0;  // begin of the valid text not appended yet
  for (size_t pos = 0; pos < text.size();) {
    const Utf8Unit unit = read_utf8(text, pos);
    if (unit.kind != Utf8Unit::kValid) {
      out.append(text.substr(sound, pos - sound));
      out.append(kReplacement);
      sound = pos + unit.size;
    }
    pos += unit.size;
  }
  out.append(text.substr(sound));
}

bool is_valid_utf8(std::string_view text) {
  for (size_t pos = skip_ascii(text, 0); pos < text.size(); pos = skip_ascii(text, pos)) {
    const Utf8Unit unit = read_utf8(text, pos);
    if (unit.kind != Utf8Unit::kValid) return false;
    pos += unit.size;
  }
  return true;
}

bool is_white_space(uint32_t code) {
  switch (code) {
    case 0x20:
    case 0x85:
    case 0xA0:
    case 0x1680:
    case 0x2028:
    case 0x2029:
    case 0x202F:
    case 0x205F:
    case 0x3000:
      return true;
    default:
      return (code >= 0x09 && code <= 0x0D) || (code >= 0x2000 && code <= 0x200A);
  }
}

bool is_word(uint32_t code) {
  const std::span<const CharRange> words = word_ranges();
  const auto above = std::upper_bound(words.begin(), words.end(), code,
                                      [](uint32_t value, CharRange r) { return value < r.first; });
  const bool inside = above != words.begin() && code <= std::prev(above)->last;
  return inside || code == 0x200C || code == 0x200D;
}

}  // namespace diffulex::text
