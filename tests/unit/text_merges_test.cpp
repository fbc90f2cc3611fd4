// Merges: against the plain algorithm, and tokens that take no merges.
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <map>

#include "text_files.h"

namespace diffulex::text {
namespace {

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

TEST(TextMerges, MergesLikeThePlainAlgorithm) {
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
TEST(TextMerges, MergesOfRandomVocabularies) {
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

// Learns merges as a trainer does, from pairs of text: what a merge takes is made before it. Few
// characters share many bytes, so that many merges take a part of one and its neighbour.
class MultibyteVocabulary {
 public:
  MultibyteVocabulary(RandomText& random, bool results_once)
      : random_(random), results_once_(results_once), root_(plain_tokenizer()) {
    for (int i = 0; i < 80; ++i) learn();
  }

  const json& root() const { return root_; }

  // Now a merge may come before those that make what it takes.
  void shuffle() {
    json& merges = root_["model"]["merges"];
    for (size_t i = merges.size() - 1; i > 0; --i) {
      std::swap(merges[i], merges[random_.below(static_cast<uint32_t>(i) + 1)]);
    }
  }

  std::string word(uint32_t longest) {
    static const std::vector<std::string> characters = {
        "a", "b", " ", "\u00E9", "\u00E8", "\u4E2D", "\u4E2E", "\u4EAD", "\u5E2D", "\U0001F600"};
    std::string out;
    for (uint32_t left = 1 + random_.below(longest); left > 0; --left) {
      out += characters[random_.below(static_cast<uint32_t>(characters.size()))];
    }
    return out;
  }

 private:
  void learn() {
    json& vocab = root_["model"]["vocab"];
    const Ids ids = ReferenceBpe(root_["model"]).encode(word(6));
    if (ids.size() < 2) return;
    const size_t at = random_.below(static_cast<uint32_t>(ids.size()) - 1);
    const std::string left = text_of(ids[at]), right = text_of(ids[at + 1]);
    const bool known = vocab.contains(left + right);
    if (known && results_once_) return;
    if (!known) vocab[left + right] = vocab.size();
    root_["model"]["merges"].push_back({left, right});
  }

  std::string text_of(int32_t id) const {
    const json& vocab = root_["model"]["vocab"];
    const auto found =
        std::find_if(vocab.begin(), vocab.end(), [id](const json& entry) { return entry == id; });
    return found.key();
  }

  RandomText& random_;
  bool results_once_;
  json root_;
};

TEST(TextMerges, MergesInsideAndAcrossCharacters) {
  RandomText random(5);
  for (int round = 0; round < 40; ++round) {
    MultibyteVocabulary vocabulary(random, round % 4 != 0);
    if (round % 4 == 1) vocabulary.shuffle();
    const ReferenceBpe reference(vocabulary.root()["model"]);
    const auto tokenizer = load_json(vocabulary.root());
    for (int i = 0; i < 150; ++i) {
      const std::string word = vocabulary.word(i % 10 == 0 ? 80 : 12);
      ASSERT_EQ(tokenizer->encode(word, false), reference.encode(word)) << word;
    }
  }
}

TEST(TextMerges, MergesMayBeLines) {
  json root = plain_tokenizer();
  root["model"]["vocab"]["ab"] = 256;
  root["model"]["merges"] = {"a b"};
  EXPECT_EQ(load_json(root)->encode("cab", false), (Ids{'c', 256}));
}

TEST(TextMerges, IgnoreMergesTakesAWholePiece) {
  json root = plain_tokenizer();
  root["model"]["vocab"]["abc"] = 256;
  EXPECT_EQ(load_json(root)->encode("abc", false), (Ids{'a', 'b', 'c'}));
  root["model"]["ignore_merges"] = true;
  EXPECT_EQ(load_json(root)->encode("abc", false), (Ids{256}));
  EXPECT_EQ(load_json(root)->encode("abca", false), (Ids{'a', 'b', 'c', 'a'}));
}

// Of pieces of every size: short ones are looked up elsewhere than long ones.
TEST(TextMerges, IgnoreMergesKnowsPiecesInTheByteAlphabetOnly) {
  json root = plain_tokenizer();
  root["model"]["ignore_merges"] = true;
  const std::string longest = "twenty bytes long \u4E2D";
  root["model"]["vocab"][spell("\u4E2D")] = 256;
  root["model"]["vocab"][spell(longest)] = 257;
  root["model"]["vocab"]["\u4E2E"] = 258;  // as text, which no piece is
  root["model"]["vocab"]["\u4E2E, which is long too"] = 259;
  const auto t = load_json(root);
  EXPECT_EQ(t->encode("\u4E2D", false), Ids{256});
  EXPECT_EQ(t->encode(longest, false), Ids{257});
  EXPECT_EQ(t->encode("\u4E2E", false), (Ids{0xE4, 0xB8, 0xAE}));
  EXPECT_EQ(t->encode("\u4E2E, which is long too", false).size(), 22U);  // bytes
  EXPECT_EQ(t->decode(Ids{258}, true), "\u4E2E");
}

// A piece may be a token that merges do not make, or make of other tokens.
TEST(TextMerges, TokensThatMergesDoNotMakeDoNotComeOut) {
  json root = plain_tokenizer();
  root["model"]["vocab"].update({{"ab", 256}, {"bc", 257}, {"abc", 258}, {"xyz", 259}});
  root["model"]["merges"] = {"b c", "a b", "ab c"};
  const auto t = load_json(root);
  EXPECT_EQ(t->encode("xyz", false), (Ids{'x', 'y', 'z'}));
  EXPECT_EQ(t->encode("abc", false), (Ids{'a', 257}));
  EXPECT_EQ(t->encode("ab", false), Ids{256});
  EXPECT_EQ(t->decode(Ids{258, 259}, true), "abcxyz");
}

}  // namespace
}  // namespace diffulex::text
