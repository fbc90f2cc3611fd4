#include "slot_text.h"

#include "failure.h"

namespace diffulex_command {
namespace {

constexpr char kSpecialMark[] = "∎";

}  // namespace

SlotText::SlotText(const diffulex_tokenizer* tokenizer) : tokenizer_(tokenizer) {
  diffulex_detok* detok = nullptr;
  diffulex_error* error = nullptr;
  check(diffulex_detok_create(tokenizer, 0, &detok, &error), error);
  detok_.reset(detok);
}

bool SlotText::is_special(diffulex_token token) const {
  size_t plain = 0, kept = 0;
  (void)!diffulex_tokenizer_decode(tokenizer_, &token, 1, 0, nullptr, 0, &plain, nullptr);
  (void)!diffulex_tokenizer_decode(tokenizer_, &token, 1, DIFFULEX_TEXT_KEEP_SPECIAL, nullptr, 0,
                                   &kept, nullptr);
  return plain == 0 && kept > 0;
}

std::string SlotText::next(diffulex_token token) {
  if (is_special(token)) return end() + kSpecialMark;
  std::string text;
  size_t size = 0;
  // Too small takes nothing and says what is needed.
  if (diffulex_detok_push(detok_.get(), &token, 1, nullptr, 0, &size, nullptr) ==
      DIFFULEX_E_BUFFER_TOO_SMALL) {
    text.resize(size);
    if (diffulex_detok_push(detok_.get(), &token, 1, text.data(), text.size(), &size, nullptr) < 0)
      return {};
  }
  return text;
}

std::string SlotText::end() {
  char text[16];
  size_t size = 0;
  if (diffulex_detok_flush(detok_.get(), text, sizeof(text), &size, nullptr) < 0) return {};
  return {text, size};
}

}  // namespace diffulex_command
