#include "text/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <new>

#include "base/error.h"

namespace diffulex::text {

struct Regex::Code {
  pcre2_code* code = nullptr;
  ~Code() { pcre2_code_free(code); }
};

struct Regex::Matcher::State {
  const pcre2_code* code = nullptr;
  pcre2_match_data* data = nullptr;
  ~State() { pcre2_match_data_free(data); }
};

Regex::Regex(const std::string& pattern) : code_(std::make_unique<Code>()) {
  int number = 0;
  PCRE2_SIZE offset = 0;
  code_->code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                              PCRE2_UTF | PCRE2_UCP, &number, &offset, nullptr);
  if (code_->code == nullptr) {
    PCRE2_UCHAR reason[256] = {};
    pcre2_get_error_message(number, reason, sizeof(reason));
    throw Error(DIFFULEX_E_TOKENIZER, "regular expression '" + pattern +
                                          "': " + reinterpret_cast<const char*>(reason) +
                                          " at offset " + std::to_string(offset));
  }
  pcre2_jit_compile(code_->code, PCRE2_JIT_COMPLETE);  // a machine without JIT interprets
}

Regex::~Regex() = default;

Regex::Matcher::Matcher(const Regex& regex) : state_(std::make_unique<State>()) {
  state_->code = regex.code_->code;
  state_->data = pcre2_match_data_create(1, nullptr);
  if (state_->data == nullptr) throw std::bad_alloc();
}

Regex::Matcher::~Matcher() = default;

bool Regex::Matcher::find(std::string_view text, size_t from, size_t* begin, size_t* end) {
  const int count = pcre2_match(state_->code, reinterpret_cast<PCRE2_SPTR>(text.data()),
                                text.size(), from, PCRE2_NO_UTF_CHECK, state_->data, nullptr);
  if (count == PCRE2_ERROR_NOMATCH) return false;
  if (count < 0)
    throw Error(DIFFULEX_E_TOKENIZER,
                "the pre-tokenizer's regular expression failed (PCRE2 error " +
                    std::to_string(count) + ")");
  const PCRE2_SIZE* range = pcre2_get_ovector_pointer(state_->data);
  *begin = range[0];
  *end = range[1];
  return true;
}

}  // namespace diffulex::text
