// Tokens that are found in text as a whole.
#include <gtest/gtest.h>

#include <algorithm>

#include "text_files.h"

namespace diffulex::text {
namespace {

using nlohmann::json;
using Ids = std::vector<int32_t>;

json added(int32_t id, const std::string& content, const json& flags) {
  json token = {{"id", id},        {"content", content},  {"single_word", false}, {"lstrip", false},
                {"rstrip", false}, {"normalized", false}, {"special", false}};
  if (!flags.is_null()) token.update(flags);
  return token;
}

std::shared_ptr<const Tokenizer> with_added(const std::vector<json>& tokens,
                                            const json& normalizer = nullptr) {
  json root = plain_tokenizer();
  root["added_tokens"] = tokens;
  root["normalizer"] = normalizer;
  return load_json(root);
}

TEST(TextAddedTokens, OrdinaryAddedTokensAreAlwaysFound) {
  const auto t = with_added({added(300, "<t>", {}), added(301, "<s>", {{"special", true}})});
  EXPECT_EQ(t->encode("a<t><s>", false), (Ids{'a', 300, '<', 's', '>'}));
  EXPECT_EQ(t->encode("a<t><s>", true), (Ids{'a', 300, 301}));
  EXPECT_EQ(t->vocab_size(), 302);
  EXPECT_FALSE(t->is_special(300));
  EXPECT_TRUE(t->is_special(301));
  EXPECT_EQ(t->decode(Ids{300, 280, 301, 'x'}, false), "<t>x");  // no token has id 280
}

TEST(TextAddedTokens, LeftmostThenLongestAddedToken) {
  const auto t = with_added({added(300, "ab", {}), added(301, "abcd", {}), added(302, "bcde", {})});
  EXPECT_EQ(t->encode("abcde", false), (Ids{301, 'e'}));
  EXPECT_EQ(t->encode("abcab", false), (Ids{300, 'c', 300}));
  EXPECT_EQ(t->encode("xbcde", false), (Ids{'x', 302}));
}

TEST(TextAddedTokens, AddedTokensTakeWhiteSpace) {
  const auto t =
      with_added({added(300, "<l>", {{"lstrip", true}}), added(301, "<r>", {{"rstrip", true}})});
  EXPECT_EQ(t->encode("a \t<l> b", false), (Ids{'a', 300, ' ', 'b'}));
  EXPECT_EQ(t->encode("a <r> \u3000\nb", false), (Ids{'a', ' ', 301, 'b'}));
  EXPECT_EQ(t->encode("<r>  <l>", false), (Ids{301, 300}));
  EXPECT_EQ(t->encode("  <l>", false), (Ids{300}));
}

TEST(TextAddedTokens, SingleWordsStandAlone) {
  const auto t = with_added({added(300, "cat", {{"single_word", true}})});
  EXPECT_EQ(t->encode("cat", false), (Ids{300}));
  EXPECT_EQ(t->encode("-cat.", false), (Ids{'-', 300, '.'}));
  EXPECT_EQ(t->encode("cats", false), (Ids{'c', 'a', 't', 's'}));
  EXPECT_EQ(t->encode("_cat", false), (Ids{'_', 'c', 'a', 't'}));
  EXPECT_EQ(t->decode(t->encode("écat catß", false), false), "écat catß");
  const Ids next_to_letters = t->encode("écat catß", false);
  EXPECT_EQ(std::count(next_to_letters.begin(), next_to_letters.end(), 300), 0);
}

TEST(TextAddedTokens, NormalizedTokensAreFoundInNormalizedText) {
  const json nfc_type = {{"type", "NFC"}};
  const std::vector<json> both = {added(300, "\u00E9!", {{"normalized", true}}),
                                  added(301, "\u00E8!", {})};
  const auto t = with_added(both, nfc_type);
  EXPECT_EQ(t->encode("e\u0301!", false), (Ids{300}));
  EXPECT_EQ(t->encode("\u00E9!", false), (Ids{300}));
  EXPECT_EQ(t->encode("\u00E8!", false), (Ids{301}));
  const Ids decomposed = t->encode("e\u0300!", false);  // 301 is looked for in the text as it is
  EXPECT_EQ(std::count(decomposed.begin(), decomposed.end(), 301), 0);
  const json sequence = {{"type", "Sequence"}, {"normalizers", {nfc_type}}};
  EXPECT_EQ(with_added(both, sequence)->encode("e\u0301!", false), (Ids{300}));
  EXPECT_EQ(with_added(both)->encode("e\u0301", false), (Ids{'e', 0xCC, 0x81}));  // no normalizer
}

// What is found and refused is not searched for shorter tokens.
TEST(TextAddedTokens, ARefusedTokenHidesTheTokensInIt) {
  const auto t = with_added({added(300, "<|x|>", {{"special", true}}), added(301, "<|x", {}),
                             added(302, "cat", {{"single_word", true}}), added(303, "ca", {})});
  EXPECT_EQ(t->encode("<|x|>", true), Ids{300});
  EXPECT_EQ(t->encode("<|x|>", false), (Ids{'<', '|', 'x', '|', '>'}));
  EXPECT_EQ(t->encode("<|x|<|x|>", false), (Ids{301, '|', '<', '|', 'x', '|', '>'}));
  EXPECT_EQ(t->encode("cats", false), (Ids{'c', 'a', 't', 's'}));
  EXPECT_EQ(t->encode("ca cat", false), (Ids{303, ' ', 302}));
}

// A token of white space comes again where the one before it has taken that space.
TEST(TextAddedTokens, TakenWhiteSpaceIsSearchedToo) {
  const auto t = with_added({added(300, "<r>", {{"rstrip", true}}), added(301, "\t\t", {})});
  EXPECT_EQ(t->encode("<r>\t\t!", false), (Ids{300, 301, '!'}));
  EXPECT_EQ(t->encode("<r> \t!", false), (Ids{300, '!'}));
}

TEST(TextAddedTokens, WordCharactersAreThoseOfUnicode) {
  const auto t = with_added({added(300, "cat", {{"single_word", true}})});
  const auto found = [&](const std::string& text) {
    const Ids ids = t->encode(text, false);
    return std::count(ids.begin(), ids.end(), 300) == 1;
  };
  for (const char* behind : {"\u00B2", "\u00BD", "\u2028", "\U0001F600", "\u3000"}) {
    EXPECT_TRUE(found(std::string("cat") + behind)) << behind;
    EXPECT_TRUE(found(behind + std::string("cat"))) << behind;
  }
  for (const char* behind : {"\u0301", "\u203F", "\u0669", "\u4E2D", "\u200D", "\u200C"}) {
    EXPECT_FALSE(found(std::string("cat") + behind)) << behind;
    EXPECT_FALSE(found(behind + std::string("cat"))) << behind;
  }
}

// With a normalizer, normalized tokens are looked for and written in normal form.
TEST(TextAddedTokens, NormalizedTokensAreWrittenInNormalForm) {
  const auto t = with_added(
      {added(300, "e\u0301\u2014", {{"normalized", true}}), added(301, "a\u0301\u2014", {})},
      {{"type", "NFC"}});
  EXPECT_EQ(t->encode("e\u0301\u2014\u00E9\u2014", false), (Ids{300, 300}));
  EXPECT_EQ(t->decode(Ids{300}, true), "\u00E9\u2014");
  EXPECT_EQ(t->decode(Ids{301}, true), "a\u0301\u2014");
}

}  // namespace
}  // namespace diffulex::text
