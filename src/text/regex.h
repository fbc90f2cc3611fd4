// A pattern of a tokenizer file, matched by PCRE2 as Oniguruma, which such files are written for,
// would match it.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace diffulex::text {

struct Span {
  size_t begin, end;
};

class Regex {
 public:
  // Throws std::invalid_argument where the pattern is broken or means something else to PCRE2.
  explicit Regex(const std::string& pattern);

  // Appends every match in valid UTF-8, left to right, none overlapping. An empty match directly
  // behind a match is none. Safe to call from several threads at once. Throws std::runtime_error
  // when matching takes too much memory or time.
  void find_all(std::string_view text, std::vector<Span>& out) const;

 private:
  struct Code;
  std::shared_ptr<const Code> code_;
};

}  // namespace diffulex::text
