// Upper and lower case of whole strings. Characters whose case is more than one character are
// taken from the table below; the final sigma is not told apart.
#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "text/jinja/characters.h"
#include "text/utf8.h"

namespace diffulex::jinja {
namespace {

using text::append_utf8;
using text::read_utf8;
using text::Utf8Unit;

struct Special {
  uint32_t code;
  const char *upper, *title;
};

// Latin only: sharp s, apostrophe n, j with caron, the ligatures.
constexpr std::array<Special, 10> kSpecials = {{{0x00DF, "SS", "Ss"},
                                                {0x0149, "\u02BCN", "\u02BCN"},
                                                {0x01F0, "J\u030C", "J\u030C"},
                                                {0xFB00, "FF", "Ff"},
                                                {0xFB01, "FI", "Fi"},
                                                {0xFB02, "FL", "Fl"},
                                                {0xFB03, "FFI", "Ffi"},
                                                {0xFB04, "FFL", "Ffl"},
                                                {0xFB05, "ST", "St"},
                                                {0xFB06, "ST", "St"}}};

const Special* find_special(uint32_t code) {
  const auto* at = std::find_if(kSpecials.begin(), kSpecials.end(),
                                [&](const Special& special) { return special.code == code; });
  return at != kSpecials.end() ? at : nullptr;
}

using Change = void (*)(uint32_t code, std::string& out);

void append_upper(uint32_t code, std::string& out) {
  if (const Special* special = find_special(code); special != nullptr) {
    out += special->upper;
  } else {
    append_utf8(static_cast<uint32_t>(utf8proc_toupper(static_cast<utf8proc_int32_t>(code))), out);
  }
}

void append_title(uint32_t code, std::string& out) {
  if (const Special* special = find_special(code); special != nullptr) {
    out += special->title;
  } else {
    append_utf8(static_cast<uint32_t>(utf8proc_totitle(static_cast<utf8proc_int32_t>(code))), out);
  }
}

void append_lower(uint32_t code, std::string& out) {
  constexpr uint32_t kDottedI = 0x130;
  if (code == kDottedI) {
    out += "i\u0307";
  } else {
    append_utf8(static_cast<uint32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(code))), out);
  }
}

bool is_cased(uint32_t code) {
  const utf8proc_category_t category = utf8proc_category(static_cast<utf8proc_int32_t>(code));
  return category == UTF8PROC_CATEGORY_LU || category == UTF8PROC_CATEGORY_LL ||
         category == UTF8PROC_CATEGORY_LT;
}

std::string change(std::string_view text, Change each) {
  std::string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const Utf8Unit unit = read_utf8(text, at);
    each(unit.code, out);
    at += unit.size;
  }
  return out;
}

}  // namespace

std::string upper(std::string_view text) { return change(text, append_upper); }

std::string lower(std::string_view text) { return change(text, append_lower); }

std::string capitalize(std::string_view text) {
  if (text.empty()) return {};
  const size_t first = read_utf8(text, 0).size;
  return change(text.substr(0, first), append_title) + lower(text.substr(first));
}

std::string title(std::string_view text) {
  std::string out;
  bool inside = false;  // of a word
  for (size_t at = 0; at < text.size();) {
    const Utf8Unit unit = read_utf8(text, at);
    (inside ? append_lower : append_title)(unit.code, out);
    inside = is_cased(unit.code);
    at += unit.size;
  }
  return out;
}

}  // namespace diffulex::jinja
