// Normal form C as the tokenizers package has it, which is that of Unicode 9.0.
#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include "text/char_ranges.h"
#include "text/utf8.h"

namespace diffulex::text {
namespace {

// What later versions compose, decompose or reorder stays as it is: code points that Unicode 9.0
// does not know, with a combining class, in a decomposition or with one. Up to Unicode 17.
constexpr std::array<CharRange, 65> kLater = {
    {{0x7FD, 0x7FD},     {0x897, 0x89F},     {0x8CA, 0x8D3},     {0x9FE, 0x9FE},
     {0xC3C, 0xC3C},     {0xD3B, 0xD3C},     {0xEBA, 0xEBA},     {0x1715, 0x1715},
     {0x1ABF, 0x1ADD},   {0x1AE0, 0x1AEB},   {0x1DF6, 0x1DFA},   {0xA82C, 0xA82C},
     {0x105C9, 0x105C9}, {0x105D2, 0x105D2}, {0x105DA, 0x105DA}, {0x105E4, 0x105E4},
     {0x10D24, 0x10D27}, {0x10D69, 0x10D6D}, {0x10EAB, 0x10EAC}, {0x10EFA, 0x10EFB},
     {0x10EFD, 0x10EFF}, {0x10F46, 0x10F50}, {0x10F82, 0x10F85}, {0x11070, 0x11070},
     {0x1133B, 0x1133B}, {0x11382, 0x11385}, {0x1138B, 0x1138B}, {0x1138E, 0x1138E},
     {0x11390, 0x11391}, {0x113B8, 0x113B8}, {0x113BB, 0x113BB}, {0x113C2, 0x113C2},
     {0x113C5, 0x113C5}, {0x113C7, 0x113C9}, {0x113CE, 0x113D0}, {0x1145E, 0x1145E},
     {0x11839, 0x1183A}, {0x11930, 0x11930}, {0x11935, 0x11935}, {0x11938, 0x11938},
     {0x1193D, 0x1193E}, {0x11943, 0x11943}, {0x119E0, 0x119E0}, {0x11A34, 0x11A34},
     {0x11A47, 0x11A47}, {0x11A99, 0x11A99}, {0x11D42, 0x11D42}, {0x11D44, 0x11D45},
     {0x11D97, 0x11D97}, {0x11F41, 0x11F42}, {0x1611E, 0x16129}, {0x1612F, 0x1612F},
     {0x16D63, 0x16D63}, {0x16D67, 0x16D6A}, {0x16FF0, 0x16FF1}, {0x1E08F, 0x1E08F},
     {0x1E130, 0x1E136}, {0x1E2AE, 0x1E2AE}, {0x1E2EC, 0x1E2EF}, {0x1E4EC, 0x1E4EF},
     {0x1E5EE, 0x1E5EF}, {0x1E6E3, 0x1E6E3}, {0x1E6E6, 0x1E6E6}, {0x1E6EE, 0x1E6EF},
     {0x1E6F5, 0x1E6F5}}};

constexpr auto kNfcOptions = static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE);

void append_decomposed(uint32_t code, std::vector<utf8proc_int32_t>& out) {
  std::array<utf8proc_int32_t, 32> buffer{};  // canonical decompositions have 4 code points at most
  int bound_class = 0;
  const auto count = utf8proc_decompose_char(static_cast<utf8proc_int32_t>(code), buffer.data(),
                                             buffer.size(), kNfcOptions, &bound_class);
  if (count < 0 || static_cast<size_t>(count) > buffer.size()) {
    out.push_back(static_cast<utf8proc_int32_t>(code));
    return;
  }
  out.insert(out.end(), buffer.begin(), buffer.begin() + count);
}

int combining_class(utf8proc_int32_t code) { return utf8proc_get_property(code)->combining_class; }

// Sorts every run of marks by class. utf8proc sorts by exchanging neighbours, which takes quadratic
// time when a text is one long run of marks.
void order_marks(std::vector<utf8proc_int32_t>& codes) {
  std::vector<std::pair<int, utf8proc_int32_t>> marks;
  for (size_t begin = 0; begin < codes.size();) {
    marks.clear();
    size_t end = begin;
    for (; end < codes.size(); ++end) {
      const int mark_class = combining_class(codes[end]);
      if (mark_class == 0) break;
      marks.emplace_back(mark_class, codes[end]);
    }
    std::stable_sort(marks.begin(), marks.end(),
                     [](const auto& a, const auto& b) { return a.first < b.first; });
    for (size_t i = 0; i < marks.size(); ++i) codes[begin + i] = marks[i].second;
    begin = end + 1;
  }
}

// Stands in for code points that stay as they are: no mark, in no composition.
constexpr utf8proc_int32_t kStandIn = 0x10FFFF;

// Code points in normal form, with stand-ins.
void compose(std::string_view text, std::vector<utf8proc_int32_t>& codes,
             std::vector<uint32_t>& later) {
  for (size_t pos = 0; pos < text.size();) {
    const Utf8Unit unit = read_utf8(text, pos);
    pos += unit.size;
    if (is_later_than_nfc(unit.code) || unit.code == static_cast<uint32_t>(kStandIn)) {
      codes.push_back(kStandIn);
      later.push_back(unit.code);
    } else {
      append_decomposed(unit.code, codes);
    }
  }
  order_marks(codes);
  const auto count = utf8proc_normalize_utf32(
      codes.data(), static_cast<utf8proc_ssize_t>(codes.size()), kNfcOptions);
  codes.resize(static_cast<size_t>(std::max<utf8proc_ssize_t>(count, 0)));
}

void append_normalized(std::string_view text, std::string& out) {
  std::vector<utf8proc_int32_t> codes;
  std::vector<uint32_t> later;
  compose(text, codes, later);
  auto next_later = later.begin();
  for (const utf8proc_int32_t code : codes) {
    append_utf8(code == kStandIn ? *next_later++ : static_cast<uint32_t>(code), out);
  }
}

// Code points that stay what they are whatever stands before them, so that text can be brought to
// normal form up to any of them alone: no marks, in normal form, never the second in a composition.
class SettledCodes {
 public:
  static const SettledCodes& get() {
    static const SettledCodes codes;
    return codes;
  }

  bool operator[](uint32_t code) const { return settled_[code]; }

 private:
  SettledCodes() : settled_(0x110000, true) {
    for (uint32_t code = 0; code < settled_.size(); ++code) {
      const bool surrogate = code >= 0xD800 && code < 0xE000;
      if (!surrogate && !is_later_than_nfc(code)) check(code);
    }
  }

  void check(uint32_t code) {
    const utf8proc_property_t* property =
        utf8proc_get_property(static_cast<utf8proc_int32_t>(code));
    if (property->category == UTF8PROC_CATEGORY_CN) return;
    if (property->combining_class != 0) settled_[code] = false;
    std::vector<utf8proc_int32_t> parts;
    append_decomposed(code, parts);
    if (parts.size() == 1 && parts[0] == static_cast<utf8proc_int32_t>(code)) return;
    std::string alone, normalized;
    append_utf8(code, alone);
    append_normalized(alone, normalized);
    // A composition of several steps ends with the last of all its parts too.
    settled_[normalized == alone ? static_cast<uint32_t>(parts.back()) : code] = false;
  }

  std::vector<bool> settled_;
};

// Where the first character from `pos` on stands that is not settled.
size_t find_unsettled(std::string_view text, size_t pos) {
  const SettledCodes& settled = SettledCodes::get();
  for (pos = skip_ascii(text, pos); pos < text.size(); pos = skip_ascii(text, pos)) {
    const Utf8Unit unit = read_valid_utf8(text, pos);
    if (!settled[unit.code]) break;
    pos += unit.size;
  }
  return pos;
}

size_t find_settled(std::string_view text, size_t pos) {
  const SettledCodes& settled = SettledCodes::get();
  while (pos < text.size()) {
    const Utf8Unit unit = read_valid_utf8(text, pos);
    if (settled[unit.code]) break;
    pos += unit.size;
  }
  return pos;
}

}  // namespace

bool is_later_than_nfc(uint32_t code) {
  const auto above = std::upper_bound(kLater.begin(), kLater.end(), code,
                                      [](uint32_t value, CharRange r) { return value < r.first; });
  return above != kLater.begin() && code <= std::prev(above)->last;
}

bool is_nfc_at_sight(std::string_view text) { return find_unsettled(text, 0) == text.size(); }

std::string to_nfc(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  size_t done = 0;
  while (true) {
    const size_t unsettled = find_unsettled(text, done);
    if (unsettled == text.size()) break;
    size_t begin = unsettled;  // with the settled character before it, which marks may change
    if (begin > done) begin -= read_utf8_before(text, begin).size;
    const size_t end = find_settled(text, unsettled);
    out.append(text.substr(done, begin - done));
    append_normalized(text.substr(begin, end - begin), out);
    done = end;
  }
  return out.append(text.substr(done));
}

}  // namespace diffulex::text
