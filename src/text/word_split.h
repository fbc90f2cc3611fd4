// The split patterns of the dense families, matched by hand: many times faster than a regular
// expression, and by one version of Unicode wherever the library runs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "text/char_class.h"

namespace diffulex::text {

// The patterns differ in whether a run of symbols takes the line ends behind it.
class WordSplit {
 public:
  // Nothing when it is none of the patterns known by heart.
  static std::optional<WordSplit> known(std::string_view pattern);

  // The end of the match that begins at `begin`, which is inside of the valid UTF-8 `text`. Matches
  // leave nothing between them.
  size_t match(std::string_view text, size_t begin) const;

 private:
  explicit WordSplit(bool symbols_take_lines)
      : classes_(&CharClassTable::get()), symbols_take_lines_(symbols_take_lines) {}

  struct Char {
    size_t size;  // bytes; 0: the text has ended
    CharClass kind;
    uint32_t code;
  };
  Char read(std::string_view text, size_t pos) const;
  size_t skip(std::string_view text, size_t pos, CharClass kind) const;
  size_t match_spaces(std::string_view text, size_t begin) const;
  size_t match_symbols(std::string_view text, size_t pos) const;

  const CharClassTable* classes_;
  bool symbols_take_lines_;
};

}  // namespace diffulex::text
