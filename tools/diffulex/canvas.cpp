#include "canvas.h"

#include <cwchar>

namespace diffulex_command {
namespace {

struct Character {
  char32_t code;
  size_t size;  // bytes
};

constexpr char32_t kReplacement = 0xFFFD;

// The character that text begins with; a byte that begins none is a replacement character.
Character first_of(std::string_view text) {
  const auto lead = static_cast<unsigned char>(text[0]);
  if (lead < 0x80) return {lead, 1};
  const size_t size = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : lead >= 0xC0 ? 2 : 0;
  if (size == 0 || size > text.size()) return {kReplacement, 1};
  char32_t code = lead & (0x7Fu >> size);
  for (size_t i = 1; i < size; ++i) {
    const auto next = static_cast<unsigned char>(text[i]);
    if ((next & 0xC0) != 0x80) return {kReplacement, 1};
    code = (code << 6) | (next & 0x3F);
  }
  return {code, size};
}

bool is_control(char32_t code) { return code < 0x20 || (code >= 0x7F && code < 0xA0); }

}  // namespace

void Canvas::new_line() {
  if (*open_ != '\0') lines_.back() += "\x1b[0m";
  open_ = "";
  lines_.emplace_back();
  used_ = 0;
}

void Canvas::append(std::string_view character, int width, const char* sgr) {
  if (used_ + width > columns_) new_line();
  if (colours_ && std::string_view(open_) != sgr) {
    if (*open_ != '\0') lines_.back() += "\x1b[0m";
    if (*sgr != '\0') lines_.back().append("\x1b[").append(sgr).append("m");
    open_ = sgr;
  }
  lines_.back() += character;
  used_ += width;
}

void Canvas::put(std::string_view text, const char* sgr) {
  while (!text.empty()) {
    const Character c = first_of(text);
    const std::string_view bytes = text.substr(0, c.size);
    text.remove_prefix(c.size);
    const int width = wcwidth(static_cast<wchar_t>(c.code));
    if (c.code == '\n') {
      new_line();
    } else if (c.code == '\t') {
      append(" ", 1, sgr);
    } else if (is_control(c.code) || c.code == kReplacement || width < 0) {
      append("\uFFFD", 1, sgr);  // what a model writes must not steer the terminal
    } else {
      append(bytes, width, sgr);
    }
  }
  if (*open_ != '\0') lines_.back() += "\x1b[0m";
  open_ = "";
}

}  // namespace diffulex_command
