// A compiled regular expression (PCRE2, Unicode properties, JIT where there is one).
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

namespace diffulex::text {

// Immutable: matching from many threads at once is fine, each with its own Matcher.
class Regex {
 public:
  // Throws Error(DIFFULEX_E_TOKENIZER) with PCRE2's reason.
  explicit Regex(const std::string& pattern);
  ~Regex();
  Regex(const Regex&) = delete;
  Regex& operator=(const Regex&) = delete;

  class Matcher {
   public:
    explicit Matcher(const Regex& regex);
    ~Matcher();
    Matcher(const Matcher&) = delete;
    Matcher& operator=(const Matcher&) = delete;
    // The first match at or behind `from` in valid UTF-8; false when there is none.
    bool find(std::string_view text, size_t from, size_t* begin, size_t* end);

   private:
    struct State;
    std::unique_ptr<State> state_;
  };

 private:
  struct Code;
  std::unique_ptr<Code> code_;
};

}  // namespace diffulex::text
