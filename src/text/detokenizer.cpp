#include "text/detokenizer.h"

#include "text/utf8.h"

namespace diffulex::text {

std::string Detokenizer::push(std::span<const int32_t> ids) {
  std::string bytes = held_;
  for (const int32_t id : ids) tokenizer_->append_bytes(id, keep_special_, bytes);
  std::string_view rest = bytes;
  std::string out;
  while (!rest.empty()) {
    const Utf8Unit unit = next_unit(rest);
    if (unit.cut) break;
    out += unit.valid ? rest.substr(0, unit.length) : kReplacement;
    rest.remove_prefix(unit.length);
  }
  held_ = std::string(rest);
  return out;
}

std::string Detokenizer::flush() {
  std::string out = to_valid_utf8(held_);
  held_.clear();
  return out;
}

}  // namespace diffulex::text
