#include "text/added_tokens.h"

#include <utf8proc.h>

#include <array>

namespace diffulex::text {
namespace {

utf8proc_int32_t code_point_at(std::string_view text, size_t at) {
  utf8proc_int32_t c = -1;
  utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(text.data()) + at,
                   static_cast<utf8proc_ssize_t>(text.size() - at), &c);
  return c;
}

size_t previous_start(std::string_view text, size_t at) {
  do --at;
  while (at > 0 && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80);
  return at;
}

bool is_blank(utf8proc_int32_t c) {
  if ((c >= 9 && c <= 13) || c == 0x85) return true;
  const auto category = utf8proc_category(c);
  return category == UTF8PROC_CATEGORY_ZS || category == UTF8PROC_CATEGORY_ZL ||
         category == UTF8PROC_CATEGORY_ZP;
}

bool is_word(utf8proc_int32_t c) {
  if (c == '_') return true;
  const auto category = utf8proc_category(c);
  return (category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_ME) ||
         category == UTF8PROC_CATEGORY_ND || category == UTF8PROC_CATEGORY_PC;
}

bool stands_alone(std::string_view text, size_t begin, size_t end) {
  if (begin > 0 && is_word(code_point_at(text, previous_start(text, begin)))) return false;
  return end == text.size() || !is_word(code_point_at(text, end));
}

}  // namespace

std::vector<Piece> split_at_tokens(std::string_view text, const std::vector<AddedToken>& tokens,
                                   const std::function<bool(const AddedToken&)>& wanted) {
  std::array<std::vector<const AddedToken*>, 256> by_first_byte;
  bool any = false;
  for (const AddedToken& token : tokens) {
    if (token.content.empty() || !wanted(token)) continue;
    by_first_byte[static_cast<unsigned char>(token.content[0])].push_back(&token);
    any = true;
  }
  std::vector<Piece> pieces;
  size_t done = 0;
  for (size_t at = 0; any && at < text.size();) {
    const AddedToken* best = nullptr;
    for (const AddedToken* token : by_first_byte[static_cast<unsigned char>(text[at])]) {
      if (text.compare(at, token->content.size(), token->content) != 0) continue;
      if (token->single_word && !stands_alone(text, at, at + token->content.size())) continue;
      if (best == nullptr || token->content.size() > best->content.size()) best = token;
    }
    if (best == nullptr) {
      ++at;
      continue;
    }
    size_t begin = at, end = at + best->content.size();
    while (best->lstrip && begin > done &&
           is_blank(code_point_at(text, previous_start(text, begin))))
      begin = previous_start(text, begin);
    while (best->rstrip && end < text.size() && is_blank(code_point_at(text, end))) {
      ++end;
      while (end < text.size() && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) ++end;
    }
    if (begin > done) pieces.push_back({text.substr(done, begin - done), nullptr});
    pieces.push_back({text.substr(begin, end - begin), best});
    at = done = end;
  }
  if (done < text.size()) pieces.push_back({text.substr(done), nullptr});
  return pieces;
}

}  // namespace diffulex::text
