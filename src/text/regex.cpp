#include "text/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <array>
#include <new>
#include <stdexcept>

namespace diffulex::text {
namespace {

struct FreeCode {
  void operator()(pcre2_code* code) const { pcre2_code_free(code); }
};
struct FreeMatchData {
  void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
};
struct FreeCompileContext {
  void operator()(pcre2_compile_context* context) const { pcre2_compile_context_free(context); }
};

std::string describe(int error) {
  std::array<PCRE2_UCHAR, 256> buffer{};
  pcre2_get_error_message(error, buffer.data(), buffer.size());
  return reinterpret_cast<const char*>(buffer.data());
}

// Refuses what both engines accept and read differently: a wrong split would go unnoticed.
class DialectCheck {
 public:
  explicit DialectCheck(std::string_view pattern) : pattern_(pattern) {}

  void run() {
    while (pos_ < pattern_.size()) {
      if (pattern_[pos_] == '\\') {
        escape();
      } else if (in_class_) {
        inside_class();
      } else {
        outside_class();
      }
    }
  }

 private:
  bool at(std::string_view text) const { return pattern_.substr(pos_, text.size()) == text; }

  [[noreturn]] static void refuse(const char* what) {
    throw std::invalid_argument(std::string("unsupported construct ") + what);
  }

  void escape() {
    if (at("\\h") || at("\\H")) refuse("\\h");
    const bool braced = at("\\p{") || at("\\P{") || at("\\x{");
    const size_t close = braced ? pattern_.find('}', pos_) : std::string_view::npos;
    pos_ = close == std::string_view::npos ? pos_ + 2 : close + 1;
  }

  void inside_class() {
    if (at("&&")) refuse("&& (intersection of classes)");
    if (at("[:")) {
      const size_t close = pattern_.find(":]", pos_);
      if (close == std::string_view::npos) refuse("[: without :]");
      pos_ = close + 2;
      return;
    }
    if (at("[")) refuse("[ inside a class");
    if (at("]")) in_class_ = false;
    ++pos_;
  }

  void outside_class() {
    if (at("}+")) refuse("{n,m}+");
    if (at("(?")) inline_options();
    if (at("[")) {
      in_class_ = true;
      ++pos_;
      if (at("^")) ++pos_;
      if (at("]")) refuse("] as the first character of a class");
      return;
    }
    ++pos_;
  }

  void inline_options() const {
    for (size_t i = pos_ + 2; i < pattern_.size(); ++i) {
      const char c = pattern_[i];
      if (c == 'm' || c == 's') refuse("(?m) or (?s)");
      if (c != 'i' && c != 'x' && c != '-') return;
    }
  }

  std::string_view pattern_;
  size_t pos_ = 0;
  bool in_class_ = false;
};

// \s of PCRE2 still takes U+180E for white space, which Unicode no longer does. U+200B has the same
// general category and the same length and is no white space either, so it stands in for U+180E
// while matching.
constexpr std::string_view kVowelSeparator = "\xE1\xA0\x8E";
constexpr std::string_view kZeroWidthSpace = "\xE2\x80\x8B";

std::string without_vowel_separators(std::string_view text, size_t first) {
  std::string out(text);
  for (size_t pos = first; pos != std::string::npos; pos = out.find(kVowelSeparator, pos)) {
    out.replace(pos, kVowelSeparator.size(), kZeroWidthSpace);
  }
  return out;
}

size_t next_character(std::string_view text, size_t pos) {
  ++pos;
  while (pos < text.size() && (static_cast<unsigned char>(text[pos]) & 0xC0) == 0x80) ++pos;
  return pos;
}

}  // namespace

struct Regex::Code {
  std::unique_ptr<pcre2_code, FreeCode> code;

  bool match(std::string_view text, size_t start, pcre2_match_data* data) const {
    const auto* subject = reinterpret_cast<PCRE2_SPTR>(text.data());
    int rc =
        pcre2_match(code.get(), subject, text.size(), start, PCRE2_NO_UTF_CHECK, data, nullptr);
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT) {  // the interpreter keeps its stack on the heap
      rc = pcre2_match(code.get(), subject, text.size(), start, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT,
                       data, nullptr);
    }
    if (rc == PCRE2_ERROR_NOMEMORY) throw std::bad_alloc();
    if (rc < 0 && rc != PCRE2_ERROR_NOMATCH) throw std::runtime_error(describe(rc));
    return rc >= 0;
  }
};

Regex::Regex(const std::string& pattern) {
  DialectCheck(pattern).run();
  const std::unique_ptr<pcre2_compile_context, FreeCompileContext> context(
      pcre2_compile_context_create(nullptr));
  if (!context) throw std::bad_alloc();
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  int error = 0;
  PCRE2_SIZE offset = 0;
  // ^ and $ of Oniguruma match at every line.
  constexpr uint32_t kOptions = PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C;
  auto code = std::make_shared<Code>();
  code->code.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                                 kOptions, &error, &offset, context.get()));
  if (!code->code) {
    throw std::invalid_argument(describe(error) + " at byte " + std::to_string(offset));
  }
  // Where there is no JIT, or no memory may be made executable, pcre2_match interprets.
  static_cast<void>(pcre2_jit_compile(code->code.get(), PCRE2_JIT_COMPLETE));
  code_ = std::move(code);
}

void Regex::find_all(std::string_view text, std::vector<Span>& out) const {
  std::string shadow;
  const size_t separator = text.find(kVowelSeparator);
  if (separator != std::string_view::npos) {
    shadow = without_vowel_separators(text, separator);
    text = shadow;
  }
  const std::unique_ptr<pcre2_match_data, FreeMatchData> data(pcre2_match_data_create(1, nullptr));
  if (!data) throw std::bad_alloc();
  const PCRE2_SIZE* ends = pcre2_get_ovector_pointer(data.get());
  size_t last_end = std::string_view::npos;
  for (size_t start = 0; start <= text.size() && code_->match(text, start, data.get());) {
    const Span match{ends[0], ends[1]};
    const bool empty = match.begin >= match.end;
    if (!empty || match.end != last_end) {
      out.push_back({match.begin, match.end});
      last_end = match.end;
    }
    start = empty ? next_character(text, match.end) : match.end;
  }
}

}  // namespace diffulex::text
