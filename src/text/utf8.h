// UTF-8: reading it, repairing it and bringing it to normal form C.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace diffulex::text {

inline constexpr std::string_view kReplacement = "\xEF\xBF\xBD";  // U+FFFD

struct Utf8Unit {
  enum Kind : uint8_t {
    kValid,
    kInvalid,    // a maximal subpart that nothing appended can complete
    kIncomplete  // the text ends inside a sequence that is sound so far
  };
  uint32_t code;  // of a valid unit
  uint8_t size;   // bytes, at least 1
  Kind kind;
};

// The unit that starts at `pos`, which must be inside the text.
Utf8Unit read_utf8(std::string_view text, size_t pos);

// The same for a begin of a character in valid UTF-8.
inline Utf8Unit read_valid_utf8(std::string_view text, size_t pos) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[pos + i]); };
  const uint32_t lead = byte(0);
  if (lead < 0x80) return {lead, 1, Utf8Unit::kValid};
  const uint8_t size = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  uint32_t code = lead & (0x7FU >> size);
  for (size_t i = 1; i < size; ++i) code = (code << 6) | (byte(i) & 0x3FU);
  return {code, size, Utf8Unit::kValid};
}

// The code point that ends right before `pos`; the text up to there must be valid and not empty.
Utf8Unit read_utf8_before(std::string_view text, size_t pos);

// Where the first byte from `pos` on stands that is not ASCII.
inline size_t skip_ascii(std::string_view text, size_t pos) {
  uint64_t bytes = 0;
  for (; pos + sizeof(bytes) <= text.size(); pos += sizeof(bytes)) {
    std::memcpy(&bytes, text.data() + pos, sizeof(bytes));
    if ((bytes & 0x8080808080808080ULL) != 0) break;
  }
  while (pos < text.size() && static_cast<uint8_t>(text[pos]) < 0x80) ++pos;
  return pos;
}

void append_utf8(uint32_t code, std::string& out);

// Appends `text` with every ill-formed subpart replaced by U+FFFD.
void append_repaired(std::string_view text, std::string& out);

bool is_valid_utf8(std::string_view text);

// Normal form C of valid UTF-8, in time O(n log n) for any input. What Unicode has got since 9.0 is
// neither composed nor reordered: the tokenizers package does not do so.
std::string to_nfc(std::string_view text);

// Whether to_nfc certainly leaves this valid UTF-8 as it is. Takes a fraction of the time.
bool is_nfc_at_sight(std::string_view text);

// Whether to_nfc leaves this code point as it is because Unicode 9.0 does not know it.
bool is_later_than_nfc(uint32_t code);

// Unicode White_Space.
bool is_white_space(uint32_t code);

// What a regex calls a word character: Alphabetic, marks, decimal digits, connectors and joiners.
bool is_word(uint32_t code);

}  // namespace diffulex::text
