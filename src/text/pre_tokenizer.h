// Cuts text into the pieces that merges stay inside of.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/regex.h"
#include "text/word_split.h"

namespace diffulex::text {

enum class SplitBehavior : uint8_t {
  kRemoved,
  kIsolated,
  kMergedWithPrevious,
  kMergedWithNext,
  kContiguous
};

// One step: a split, or the prefix of the byte-level step.
struct PreTokenizerStep {
  bool prefix_space = false;   // first puts a space before every piece that does not start with one
  std::optional<Regex> regex;  // splits at its matches,
  std::string literal;         // or at every occurrence of this; neither: does not split
  SplitBehavior behavior = SplitBehavior::kIsolated;
  bool invert = false;             // the matches are what is between the matches
  std::optional<WordSplit> words;  // matches as `regex` does, which then isolates its matches
};

// Pieces are views into the text that was cut or into `owned`.
struct Pieces {
  std::vector<std::string_view> views;
  std::deque<std::string> owned;
};

class PreTokenizer {
 public:
  explicit PreTokenizer(std::vector<PreTokenizerStep> steps) : steps_(std::move(steps)) {}

  // Cuts valid UTF-8; empty pieces are left out. Safe to call from several threads at once.
  Pieces cut(std::string_view text) const;

 private:
  std::vector<PreTokenizerStep> steps_;
};

}  // namespace diffulex::text
