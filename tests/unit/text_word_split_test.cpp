// The split patterns that are matched by hand cut where the regular expression cuts.
#include <gtest/gtest.h>

#include <algorithm>

#include "text/regex.h"
#include "text/word_split.h"
#include "token_texts.h"

namespace diffulex::text {
namespace {

const std::vector<std::string> kPatterns = {
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
    R"('(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+)",
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+)"};

// Which characters the regular expression takes for another class than ours, for it has its own
// version of Unicode.
class Disputed {
 public:
  Disputed() : disputed_(0x110000) {
    check("\\p{L}", CharClass::kLetter);
    check("\\p{N}", CharClass::kNumber);
    check("\\s", CharClass::kSpace);
  }

  size_t count() const {
    return static_cast<size_t>(std::count(disputed_.begin(), disputed_.end(), true));
  }

  // The text with a letter for each of them.
  std::string replaced(const std::string& text) const {
    std::string out;
    for (size_t pos = 0; pos < text.size();) {
      const Utf8Unit unit = read_utf8(text, pos);
      append_utf8(disputed_[unit.code] ? 'x' : unit.code, out);
      pos += unit.size;
    }
    return out;
  }

 private:
  void check(const char* pattern, CharClass kind) {
    const Regex regex(pattern);
    for (uint32_t code = 0; code < 0x110000; ++code) {
      if (code >= 0xD800 && code < 0xE000) continue;
      std::vector<Span> found;
      regex.find_all(utf8(code), found);
      if (found.empty() == (CharClassTable::get()[code] == kind)) disputed_[code] = true;
    }
  }

  std::vector<bool> disputed_;
};

std::vector<std::string> by_regex(const Regex& regex, const std::string& text) {
  std::vector<Span> spans;
  regex.find_all(text, spans);
  std::vector<std::string> out;
  for (const Span& span : spans) out.push_back(text.substr(span.begin, span.end - span.begin));
  return out;
}

std::vector<std::string> by_hand(const WordSplit& words, const std::string& text) {
  std::vector<std::string> out;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = words.match(text, begin);
    if (end <= begin || end > text.size()) return {"no progress"};
    out.push_back(text.substr(begin, end - begin));
    begin = end;
  }
  return out;
}

TEST(TextWordSplit, CutsWhereTheRegularExpressionCuts) {
  const Disputed disputed;
  EXPECT_LT(disputed.count(), 15000U);  // what few years have added
  TokenTexts maker({"<|im_start|>", "'s", " \n"});
  std::vector<std::string> texts = sweep_texts();
  for (uint32_t i = 0; i < TokenTexts::kCount; ++i) texts.push_back(maker.text(i));
  for (std::string& text : texts) text = disputed.replaced(text);
  for (const std::string& pattern : kPatterns) {
    const auto words = WordSplit::known(pattern);
    ASSERT_TRUE(words) << pattern;
    const Regex regex(pattern);
    for (const std::string& text : texts) {
      ASSERT_EQ(by_hand(*words, text), by_regex(regex, text)) << text;
    }
  }
}

// Every text of up to five characters of the kinds that the patterns tell apart.
TEST(TextWordSplit, CutsEveryShortText) {
  const std::vector<std::string> alphabet = {"s", "E", "l",  "1",  "'",
                                             "!", " ", "\t", "\n", "\u017F"};
  std::vector<std::pair<WordSplit, Regex>> both;
  for (const std::string& pattern : kPatterns) {
    both.emplace_back(WordSplit::known(pattern).value(), Regex(pattern));
  }
  size_t count = alphabet.size();
  for (size_t length = 1; length <= 5; ++length, count *= alphabet.size()) {
    for (size_t number = 0; number < count; ++number) {
      std::string text;
      for (size_t i = 0, rest = number; i < length; ++i, rest /= alphabet.size()) {
        text += alphabet[rest % alphabet.size()];
      }
      for (const auto& [words, regex] : both) {
        ASSERT_EQ(by_hand(words, text), by_regex(regex, text)) << text;
      }
    }
  }
}

TEST(TextWordSplit, OtherPatternsAreNotKnown) {
  EXPECT_FALSE(WordSplit::known(""));
  EXPECT_FALSE(WordSplit::known(kPatterns[0] + "|x"));
  EXPECT_FALSE(WordSplit::known(kPatterns[0].substr(1)));
}

}  // namespace
}  // namespace diffulex::text
