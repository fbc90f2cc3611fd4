// Stop strings in a text that grows token by token.
#include "engine/stop_strings.h"

#include <gtest/gtest.h>

#include <random>

namespace diffulex {
namespace {

using Strings = std::vector<std::string>;

TEST(StopStrings, TheFirstToBeCompleteCounts) {
  const Strings strings = {"bcd", "cd", "xyz"};
  EXPECT_EQ(find_stop_string("abcd", 0, strings), 1u);  // both end here: the longer one
  EXPECT_EQ(find_stop_string("a cd xyz", 0, strings), 2u);
  EXPECT_EQ(find_stop_string("a xyz cd", 0, strings), 2u);
  EXPECT_EQ(find_stop_string("ab", 0, strings), std::string::npos);
  EXPECT_EQ(find_stop_string("abcd", 3, strings), 1u);  // began before, ends in the new part
  EXPECT_EQ(find_stop_string("abcd", 4, strings), std::string::npos);
}

TEST(StopStrings, WhatMayBecomeOneIsHeldBack) {
  const Strings strings = {"END", "\n\n", "aab"};
  EXPECT_EQ(stop_string_begun("word", strings), 0u);
  EXPECT_EQ(stop_string_begun("wordE", strings), 1u);
  EXPECT_EQ(stop_string_begun("wordEN", strings), 2u);
  EXPECT_EQ(stop_string_begun("line\n", strings), 1u);
  EXPECT_EQ(stop_string_begun("aaa", strings), 2u);
  EXPECT_EQ(stop_string_begun("", strings), 0u);
}

// However the text is cut, the result is that of the whole text and nothing of a stop string gets
// out before.
TEST(StopStrings, CutsDoNotMatter) {
  std::mt19937 rng(7);
  for (int round = 0; round < 2000; ++round) {
    std::string whole;
    for (int i = 0; i < 40; ++i) whole += static_cast<char>('a' + rng() % 3);
    Strings strings;
    for (int i = 0; i < 3; ++i) {
      std::string s;
      for (size_t n = 2 + rng() % 4; n > 0; --n) s += static_cast<char>('a' + rng() % 3);
      strings.push_back(s);
    }
    size_t first_end = std::string::npos, begin = std::string::npos;
    for (size_t end = 1; end <= whole.size() && first_end == std::string::npos; ++end)
      for (const std::string& s : strings)
        if (std::string_view(whole).substr(0, end).ends_with(s)) {
          first_end = end;
          begin = std::min(begin, end - s.size());
        }
    std::string text;
    size_t readable = 0, found = std::string::npos;
    while (text.size() < whole.size() && found == std::string::npos) {
      const size_t from = text.size();
      text += whole.substr(from, 1 + rng() % 3);
      found = find_stop_string(text, from, strings);
      if (found == std::string::npos) {
        readable = text.size() - stop_string_begun(text, strings);
        ASSERT_LE(readable, begin);
      }
    }
    ASSERT_EQ(found, begin);
    if (found == std::string::npos) {
      ASSERT_GE(readable + 4, whole.size());
    }
  }
}

}  // namespace
}  // namespace diffulex
