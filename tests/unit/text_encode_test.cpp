// Encoding and decoding: merges, added tokens, repair of text.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <thread>

#include "expect_error.h"
#include "text_files.h"

namespace diffulex::text {
namespace {

using diffulex::testing::expect_error;
using nlohmann::json;
using Ids = std::vector<int32_t>;

// Merges one word the plain way: again and again the merge of lowest rank, leftmost first.
class ReferenceBpe {
 public:
  explicit ReferenceBpe(const json& model)
      : vocab_(model["vocab"].get<std::map<std::string, int32_t>>()) {
    int rank = 0;
    for (const auto& merge : model["merges"]) {
      ranks_[{merge[0].get<std::string>(), merge[1].get<std::string>()}] = rank++;
    }
  }

  Ids encode(const std::string& word) const {
    std::vector<std::string> symbols;
    for (const char c : word) symbols.push_back(spell(std::string(1, c)));
    while (true) {
      size_t best = symbols.size();
      int best_rank = std::numeric_limits<int>::max();
      for (size_t i = 0; i + 1 < symbols.size(); ++i) {
        const auto found = ranks_.find({symbols[i], symbols[i + 1]});
        if (found == ranks_.end() || found->second >= best_rank) continue;
        best = i;
        best_rank = found->second;
      }
      if (best == symbols.size()) break;
      symbols[best] += symbols[best + 1];
      symbols.erase(symbols.begin() + static_cast<std::ptrdiff_t>(best) + 1);
    }
    Ids ids;
    for (const std::string& symbol : symbols) ids.push_back(vocab_.at(symbol));
    return ids;
  }

 private:
  std::map<std::string, int32_t> vocab_;
  std::map<std::pair<std::string, std::string>, int> ranks_;
};

TEST(TextEncode, MergesLikeThePlainAlgorithm) {
  const ReferenceBpe reference(read_json(kTinyDir + "/tokenizer.json")["model"]);
  RandomText random(1);
  for (int i = 0; i < 3000; ++i) {
    std::string word = random.below(2) == 0 ? " " : "";
    const size_t length = 1 + random.below(i % 10 == 0 ? 200 : 30);
    while (word.size() < length) {  // letters as they are frequent in the vocabulary
      word += "etaoinshrdlucmfwygpbETAOIN"[random.below(26)];
    }
    EXPECT_EQ(tiny()->encode(word, false), reference.encode(word)) << word;
  }
}

// Merges whose results merge earlier than themselves, and overlapping ones: order matters.
TEST(TextEncode, MergesOfRandomVocabularies) {
  RandomText random(2);
  for (int round = 0; round < 40; ++round) {
    json root = plain_tokenizer();
    json& vocab = root["model"]["vocab"];
    std::vector<std::string> tokens = {"a", "b", "c"};
    std::vector<std::pair<std::string, std::string>> merges;
    while (merges.size() < 25) {
      const std::string left = tokens[random.below(static_cast<uint32_t>(tokens.size()))];
      const std::string right = tokens[random.below(static_cast<uint32_t>(tokens.size()))];
      if (std::find(merges.begin(), merges.end(), std::pair(left, right)) != merges.end()) continue;
      merges.emplace_back(left, right);
      if (vocab.contains(left + right)) continue;
      vocab[left + right] = vocab.size();
      tokens.push_back(left + right);
    }
    for (size_t i = merges.size() - 1; i > 0; --i) {
      std::swap(merges[i], merges[random.below(static_cast<uint32_t>(i) + 1)]);
    }
    for (const auto& [left, right] : merges) root["model"]["merges"].push_back({left, right});
    const ReferenceBpe reference(root["model"]);
    const auto tokenizer = load_json(root);
    for (int i = 0; i < 100; ++i) {
      std::string word;
      const size_t length = 1 + random.below(80);
      while (word.size() < length) word += static_cast<char>('a' + random.below(3));
      EXPECT_EQ(tokenizer->encode(word, false), reference.encode(word)) << word;
    }
  }
}

TEST(TextEncode, MergesMayBeLines) {
  json root = plain_tokenizer();
  root["model"]["vocab"]["ab"] = 256;
  root["model"]["merges"] = {"a b"};
  EXPECT_EQ(load_json(root)->encode("cab", false), (Ids{'c', 256}));
}

TEST(TextEncode, IgnoreMergesTakesAWholePiece) {
  json root = plain_tokenizer();
  root["model"]["vocab"]["abc"] = 256;
  EXPECT_EQ(load_json(root)->encode("abc", false), (Ids{'a', 'b', 'c'}));
  root["model"]["ignore_merges"] = true;
  EXPECT_EQ(load_json(root)->encode("abc", false), (Ids{256}));
  EXPECT_EQ(load_json(root)->encode("abca", false), (Ids{'a', 'b', 'c', 'a'}));
}

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

TEST(TextEncode, OrdinaryAddedTokensAreAlwaysFound) {
  const auto t = with_added({added(300, "<t>", {}), added(301, "<s>", {{"special", true}})});
  EXPECT_EQ(t->encode("a<t><s>", false), (Ids{'a', 300, '<', 's', '>'}));
  EXPECT_EQ(t->encode("a<t><s>", true), (Ids{'a', 300, 301}));
  EXPECT_EQ(t->vocab_size(), 302);
  EXPECT_FALSE(t->is_special(300));
  EXPECT_TRUE(t->is_special(301));
  EXPECT_EQ(t->decode(Ids{300, 280, 301, 'x'}, false), "<t>x");  // no token has id 280
}

TEST(TextEncode, LeftmostThenLongestAddedToken) {
  const auto t = with_added({added(300, "ab", {}), added(301, "abcd", {}), added(302, "bcde", {})});
  EXPECT_EQ(t->encode("abcde", false), (Ids{301, 'e'}));
  EXPECT_EQ(t->encode("abcab", false), (Ids{300, 'c', 300}));
  EXPECT_EQ(t->encode("xbcde", false), (Ids{'x', 302}));
}

TEST(TextEncode, AddedTokensTakeWhiteSpace) {
  const auto t =
      with_added({added(300, "<l>", {{"lstrip", true}}), added(301, "<r>", {{"rstrip", true}})});
  EXPECT_EQ(t->encode("a \t<l> b", false), (Ids{'a', 300, ' ', 'b'}));
  EXPECT_EQ(t->encode("a <r> \u3000\nb", false), (Ids{'a', ' ', 301, 'b'}));
  EXPECT_EQ(t->encode("<r>  <l>", false), (Ids{301, 300}));
  EXPECT_EQ(t->encode("  <l>", false), (Ids{300}));
}

TEST(TextEncode, SingleWordsStandAlone) {
  const auto t = with_added({added(300, "cat", {{"single_word", true}})});
  EXPECT_EQ(t->encode("cat", false), (Ids{300}));
  EXPECT_EQ(t->encode("-cat.", false), (Ids{'-', 300, '.'}));
  EXPECT_EQ(t->encode("cats", false), (Ids{'c', 'a', 't', 's'}));
  EXPECT_EQ(t->encode("_cat", false), (Ids{'_', 'c', 'a', 't'}));
  EXPECT_EQ(t->decode(t->encode("écat catß", false), false), "écat catß");
  const Ids next_to_letters = t->encode("écat catß", false);
  EXPECT_EQ(std::count(next_to_letters.begin(), next_to_letters.end(), 300), 0);
}

TEST(TextEncode, NormalizedTokensAreFoundInNormalizedText) {
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
