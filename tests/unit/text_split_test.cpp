// Where text is cut before merging. The expected pieces are derived from the patterns by hand.
#include <gtest/gtest.h>

#include "text_files.h"

namespace diffulex::text {
namespace {

using nlohmann::json;
using Words = std::vector<std::string>;

constexpr const char* kQwen2 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kBailing =
    R"('(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+)";

json split_step(const json& pattern, const std::string& behavior, bool invert) {
  return {{"type", "Split"}, {"pattern", pattern}, {"behavior", behavior}, {"invert", invert}};
}

json sequence(const json& steps) { return {{"type", "Sequence"}, {"pretokenizers", steps}}; }

json regex(const std::string& pattern) {
  return sequence({split_step({{"Regex", pattern}}, "Isolated", false), byte_level(false, false)});
}

// Cuts by a tokenizer whose vocabulary has every expected piece, so that each piece is one token. A
// piece that was not expected falls apart into bytes.
Words cut(const json& pre_tokenizer, const std::string& text, const Words& expected) {
  json root = plain_tokenizer();
  root["pre_tokenizer"] = pre_tokenizer;
  root["model"]["ignore_merges"] = true;
  json& vocab = root["model"]["vocab"];
  for (const std::string& piece : expected) {
    if (!vocab.contains(spell(piece))) vocab[spell(piece)] = vocab.size();
  }
  const auto tokenizer = load_json(root);
  Words pieces;
  for (const int32_t id : tokenizer->encode(text, false)) {
    tokenizer->append_bytes(id, true, pieces.emplace_back());
  }
  return pieces;
}

struct Case {
  std::string text;
  Words pieces;
};

void check(const json& pre_tokenizer, const std::vector<Case>& cases) {
  for (const Case& c : cases) EXPECT_EQ(cut(pre_tokenizer, c.text, c.pieces), c.pieces) << c.text;
}

TEST(TextSplit, Qwen2Words) {
  check(regex(kQwen2), {
                           {"", {}},
                           {"Hello", {"Hello"}},
                           {"Hello world", {"Hello", " world"}},
                           {"I'm  here\n\n 123abc!!\n",
                            {"I", "'m", " ", " here", "\n\n", " ", "1", "2", "3", "abc", "!!\n"}},
                           {"don't DON'T", {"don", "'t", " DON", "'T"}},
                           {"he'll've", {"he", "'ll", "'ve"}},
                           {"I'M'D", {"I", "'M", "'D"}},
                           {"'sup 'hello", {"'s", "up", " '", "hello"}},
                           {"'hello", {"'hello"}},
                           {"it''s", {"it", "''", "s"}},
                           {"a1b22", {"a", "1", "b", "2", "2"}},
                           {"a_b", {"a", "_b"}},
                           {"__init__", {"__", "init", "__"}},
                           {"3.14", {"3", ".", "1", "4"}},
                           {"$5", {"$", "5"}},
                       });
}

TEST(TextSplit, Qwen2WhiteSpace) {
  check(regex(kQwen2), {
                           {" ", {" "}},
                           {"\n", {"\n"}},
                           {"  leading", {" ", " leading"}},
                           {"trailing   ", {"trailing", "   "}},
                           {"a\t\tb", {"a", "\t", "\tb"}},
                           {"a \n b", {"a", " \n", " b"}},
                           {"a\r\nb", {"a", "\r\n", "b"}},
                           {"a\n  b", {"a", "\n", " ", " b"}},
                           {"\n \n x", {"\n \n", " x"}},
                           {"   \n   ", {"   \n", "   "}},
                           {"a  1", {"a", " ", " ", "1"}},
                           {"hi!?\r\n\r\nyo", {"hi", "!?\r\n\r\n", "yo"}},
                           {"x=1;\n\ny", {"x", "=", "1", ";\n\n", "y"}},
                           {"  !", {" ", " !"}},
                           {"a\u00A0b", {"a", "\u00A0b"}},
                           {"a\u0085\u0085b", {"a", "\u0085", "\u0085b"}},
                           {"a\u3000\u3000", {"a", "\u3000\u3000"}},
                           // U+180E is no white space
                           {"a\u180E\u180Eb", {"a", "\u180E\u180E", "b"}},
                       });
}

TEST(TextSplit, Qwen2OtherScripts) {
  check(regex(kQwen2), {
                           {"你好，世界", {"你好", "，世界"}},
                           {"½x", {"½", "x"}},
                           {"Ⅷ٣٤", {"Ⅷ", "٣", "٤"}},
                           {"ที่", {"ท", "ี่"}},
                           {"hi 👋🏽", {"hi", " 👋🏽"}},
                           {"👍x", {"👍x"}},
                           {"Straße ß'S", {"Straße", " ß", "'S"}},
                       });
}

TEST(TextSplit, BailingPattern) {
  check(regex(kBailing),
        {
            {"I'm  here\n\n 12!!\n", {"I", "'m", " ", " here", "\n\n", " ", "1", "2", "!!\n"}},
            {"a\r\n\r\nb", {"a", "\r\n\r\n", "b"}},
            {" x\n \ny", {" x", "\n \n", "y"}},
        });
}

TEST(TextSplit, ByteLevelPattern) {
  check(byte_level(false, true),
        {{"I'm  here 123!! \n", {"I", "'m", " ", " here", " 123", "!!", " \n"}},
         {"I'M", {"I", "'", "M"}}});
}

TEST(TextSplit, PrefixSpace) {
  check(byte_level(true, true),
        {{"Hello you", {" Hello", " you"}}, {" Hello", {" Hello"}}, {"", {}}});
  const json steps =
      sequence({split_step({{"String", "-"}}, "Removed", false), byte_level(true, false)});
  check(steps, {{"a-b- c", {" a", " b", " c"}}});
}

TEST(TextSplit, Behaviors) {
  const std::string text = "the-final--countdown";
  const std::vector<std::pair<std::string, Words>> cases = {
      {"Removed", {"the", "final", "countdown"}},
      {"Isolated", {"the", "-", "final", "-", "-", "countdown"}},
      {"MergedWithPrevious", {"the-", "final-", "-", "countdown"}},
      {"MergedWithNext", {"the", "-final", "-", "-countdown"}},
      {"Contiguous", {"the", "-", "final", "--", "countdown"}}};
  for (const auto& [behavior, pieces] : cases) {
    for (const json& pattern : {json{{"String", "-"}}, json{{"Regex", "-"}}}) {
      const json steps = sequence({split_step(pattern, behavior, false), byte_level(false, false)});
      EXPECT_EQ(cut(steps, text, pieces), pieces) << behavior;
    }
  }
}

TEST(TextSplit, Invert) {
  const auto steps = [](const std::string& behavior) {
    return sequence({split_step({{"Regex", "\\p{L}+"}}, behavior, true), byte_level(false, false)});
  };
  EXPECT_EQ(cut(steps("Removed"), "ab12cd!", {"ab", "cd"}), (Words{"ab", "cd"}));
  EXPECT_EQ(cut(steps("MergedWithPrevious"), "ab12cd!", {"ab12", "cd!"}), (Words{"ab12", "cd!"}));
}

TEST(TextSplit, StringPatternsAreLiteral) {
  const json steps =
      sequence({split_step({{"String", ".\\E"}}, "Isolated", false), byte_level(false, false)});
  check(steps, {{"ab.\\Ec.", {"ab", ".\\E", "c."}}});
}

TEST(TextSplit, StepsSeeTheirPieceAlone) {
  // ^ matches at the begin of every piece that the first step made.
  const json steps =
      sequence({split_step({{"String", "-"}}, "Removed", false),
                split_step({{"Regex", "^."}}, "Isolated", false), byte_level(false, false)});
  check(steps, {{"abc-def", {"a", "bc", "d", "ef"}}});
}

TEST(TextSplit, EmptyMatchesCut) { check(regex("(?=X)"), {{"aXbX", {"a", "Xb", "X"}}}); }

TEST(TextSplit, AnchorsMatchAtEveryLine) {
  check(regex("^a"), {{"ab\nab", {"a", "b\n", "a", "b"}}});
}

}  // namespace
}  // namespace diffulex::text
