// Encoding and decoding: special tokens, repair of text.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include "expect_error.h"
#include "text_files.h"

namespace diffulex::text {
namespace {

using diffulex::testing::expect_error;
using nlohmann::json;
using Ids = std::vector<int32_t>;

TEST(TextEncode, RoundTripGivesTheNormalForm) {
  RandomText random(3);
  for (int i = 0; i < 2000; ++i) {
    const std::string text = random.text(random.below(60));
    EXPECT_EQ(tiny()->decode(tiny()->encode(text, false), true), nfc(text));
  }
}

TEST(TextEncode, InvalidBytesBecomeReplacements) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"a\xFFz", "a\uFFFDz"},
      {"\xC3", "\uFFFD"},
      {"\xE2\x82", "\uFFFD"},  // a cut character is one
      {"\xE2\x82(", "\uFFFD("},
      {"\xF0\x9F\x98", "\uFFFD"},
      {"\xF0\x9F\x98\xF0\x9F\x98\x80", "\uFFFD\U0001F600"},
      {"\xC0\xAF", "\uFFFD\uFFFD"},  // overlong
      {"\xE0\x80\x80", "\uFFFD\uFFFD\uFFFD"},
      {"\xED\xA0\x80", "\uFFFD\uFFFD\uFFFD"},            // a surrogate
      {"\xF4\x90\x80\x80", "\uFFFD\uFFFD\uFFFD\uFFFD"},  // above U+10FFFF
      {"\x80\x80", "\uFFFD\uFFFD"},
  };
  for (const auto& [text, repaired] : cases) {
    EXPECT_EQ(tiny()->encode(text, false), tiny()->encode(repaired, false)) << repaired;
    EXPECT_EQ(tiny()->decode(tiny()->encode(text, false), false), repaired);
  }
}

TEST(TextEncode, NulIsText) {
  const std::string text("a\0b", 3);
  EXPECT_EQ(tiny()->decode(tiny()->encode(text, false), false), text);
}

TEST(TextEncode, SpecialTokensAreTextUnlessParsed) {
  const int32_t end = tiny()->special("<|im_end|>");
  ASSERT_EQ(end, 1022);
  const std::string text = "say <|im_end|> twice<|im_end|>";
  const Ids plain = tiny()->encode(text, false);
  EXPECT_EQ(std::count(plain.begin(), plain.end(), end), 0);
  EXPECT_EQ(tiny()->decode(plain, false), text);
  const Ids parsed = tiny()->encode(text, true);
  EXPECT_EQ(std::count(parsed.begin(), parsed.end(), end), 2);
  EXPECT_EQ(tiny()->decode(parsed, true), text);
  EXPECT_EQ(tiny()->decode(parsed, false), "say  twice");
}

TEST(TextEncode, IdsOutOfRangeAreRefused) {
  std::string out = "kept";
  for (const int32_t id : {-1, tiny()->vocab_size(), std::numeric_limits<int32_t>::max()}) {
    expect_error(DIFFULEX_E_INVALID_ARGUMENT, {std::to_string(id)}, [&] {
      tiny()->decode(Ids{5, id}, true);
    });
    expect_error(DIFFULEX_E_INVALID_ARGUMENT, {std::to_string(id)},
                 [&] { tiny()->append_bytes(id, true, out); });
    EXPECT_FALSE(tiny()->is_special(id));
  }
  EXPECT_EQ(out, "kept");
}

TEST(TextEncode, LongWordsTakeNoQuadraticTime) {
  json root = plain_tokenizer();
  std::string token = "a";
  for (int id = 256; id < 260; ++id) {
    root["model"]["merges"].push_back({token, token});
    token += token;
    root["model"]["vocab"][token] = id;
  }
  root["normalizer"] = {{"type", "NFC"}};
  const auto t = load_json(root);
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(t->encode(std::string(160000, 'a'), false), Ids(10000, 259));
  std::string marks = "a";  // in the worst order for sorting by exchange
  for (int i = 0; i < 50000; ++i) marks += "\u0301";
  for (int i = 0; i < 50000; ++i) marks += "\u0323";
  EXPECT_EQ(t->encode(marks, false).size(), 3u + 49999u * 2 + 50000u * 2);  // U+1EA1 and the rest
  EXPECT_EQ(tiny()->encode(std::string(100000, ' ') + "x", false).size(), 100001u);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(10));
}

TEST(TextEncode, ThreadsShareATokenizer) {
  std::vector<std::string> texts;
  texts.reserve(50);
  RandomText random(4);
  for (int i = 0; i < 50; ++i) texts.push_back(random.text(200));
  std::vector<Ids> expected;
  expected.reserve(texts.size());
  for (const std::string& text : texts) expected.push_back(tiny()->encode(text, true));
  std::vector<int> wrong(4);
  std::vector<std::thread> threads;
  threads.reserve(wrong.size());
  for (int& count : wrong) {
    threads.emplace_back([&texts, &expected, &count] {
      for (size_t i = 0; i < texts.size(); ++i)
        count += tiny()->encode(texts[i], true) != expected[i];
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, std::vector<int>(4));
}

}  // namespace
}  // namespace diffulex::text
