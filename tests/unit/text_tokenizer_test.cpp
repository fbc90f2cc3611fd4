// The tokenizer: golden ids, the pre-tokenizer's cuts, merges against a naive implementation,
// special tokens, round trips, faults.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <random>

#include "base/error.h"
#include "text/bpe.h"
#include "text/chat.h"
#include "text/detokenizer.h"
#include "text/regex.h"
#include "text/tokenizer.h"
#include "text/utf8.h"

namespace diffulex::text {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using Ids = std::vector<int32_t>;

std::string tiny() { return std::string(DIFFULEX_MODELS_DIR) + "/tiny-sdar"; }
std::shared_ptr<const Tokenizer> shared() {
  static const std::shared_ptr<const Tokenizer> loaded = Tokenizer::load(tiny());
  return loaded;
}
const Tokenizer& tokenizer() { return *shared(); }

TEST(Tokenizer, GoldenPromptsAndAnswers) {
  std::ifstream in(std::string(DIFFULEX_TEST_DATA_DIR) + "/tiny-sdar/golden.json");
  const json golden = json::parse(in);
  for (const json& item : golden["prompts"]) {
    const std::string prompt = item["prompt"];
    const Message message{"user", prompt};
    const std::string text = render_chatml(tokenizer(), {&message, 1}, "");
    EXPECT_EQ(tokenizer().encode(text, true), item["prompt_ids"].get<Ids>());
    for (const auto& [run, decode] : item["decode"].items())
      EXPECT_EQ(tokenizer().decode(decode["ids"].get<Ids>(), false),
                decode["text"].get<std::string>())
          << run;
    EXPECT_EQ(
        tokenizer().decode(tokenizer().encode(item["answer"].get<std::string>(), false), false),
        item["answer"]);
  }
}

TEST(Tokenizer, Facts) {
  EXPECT_EQ(tokenizer().vocab_size(), 1024);
  EXPECT_EQ(tokenizer().special("eos"), 1022);
  EXPECT_EQ(tokenizer().special("mask"), 1023);
  EXPECT_EQ(tokenizer().special("pad"), 1020);
  EXPECT_EQ(tokenizer().special("bos"), -1);
  EXPECT_EQ(tokenizer().special("<|im_start|>"), 1021);
  EXPECT_EQ(tokenizer().special("no such token"), -1);
  EXPECT_TRUE(tokenizer().is_special(1021));
  EXPECT_FALSE(tokenizer().is_special(5));
}

TEST(Tokenizer, SpecialTokensOnlyWhereAskedFor) {
  const Ids parsed = tokenizer().encode("a<|im_end|>b", true);
  EXPECT_EQ(std::count(parsed.begin(), parsed.end(), 1022), 1);
  const Ids plain = tokenizer().encode("a<|im_end|>b", false);
  EXPECT_EQ(std::count_if(plain.begin(), plain.end(), [](int32_t id) { return id >= 1020; }), 0);
  EXPECT_EQ(tokenizer().decode(plain, false), "a<|im_end|>b");
  EXPECT_EQ(tokenizer().decode(parsed, false), "ab");
  EXPECT_EQ(tokenizer().decode(parsed, true), "a<|im_end|>b");
  EXPECT_TRUE(tokenizer().encode("", true).empty());
}

// Cuts derived by hand from the pattern's alternatives, in order.
TEST(Regex, Qwen2Cuts) {
  const Regex regex(
      R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)");
  const auto cut = [&](const std::string& text) {
    Regex::Matcher matcher(regex);
    std::vector<std::string> pieces;
    size_t at = 0, begin = 0, end = 0;
    while (at < text.size() && matcher.find(text, at, &begin, &end)) {
      EXPECT_EQ(begin, at);
      pieces.push_back(text.substr(begin, end - begin));
      at = end;
    }
    EXPECT_EQ(at, text.size());
    return pieces;
  };
  using V = std::vector<std::string>;
  EXPECT_EQ(cut("I'm  here"), (V{"I", "'m", " ", " here"}));
  EXPECT_EQ(cut("WE'LL go"), (V{"WE", "'LL", " go"}));
  EXPECT_EQ(cut("123abc"), (V{"1", "2", "3", "abc"}));
  EXPECT_EQ(cut("a\n\n b"), (V{"a", "\n\n", " b"}));
  EXPECT_EQ(cut("end!!\n\nnext"), (V{"end", "!!\n\n", "next"}));
  EXPECT_EQ(cut("x   \n  y"), (V{"x", "   \n", " ", " y"}));
  EXPECT_EQ(cut("tail   "), (V{"tail", "   "}));
  EXPECT_EQ(cut("$5.00"), (V{"$", "5", ".", "0", "0"}));
  EXPECT_EQ(cut("_foo(bar)"), (V{"_foo", "(bar", ")"}));
  EXPECT_EQ(cut("你好 мир"), (V{"你好", " мир"}));
  EXPECT_EQ(cut("½٣"), (V{"½", "٣"}));
  EXPECT_EQ(cut("a\u00a0b"), (V{"a", "\u00a0b"}));
  EXPECT_EQ(cut("😀😀 x"), (V{"😀😀", " x"}));
}

// Merging as the definition says it: the lowest rank first, leftmost first, again and again.
Ids naive_merge(const std::string& word, const std::map<std::string, int32_t>& ids,
                const std::map<std::pair<int32_t, int32_t>, std::pair<int32_t, int32_t>>& merges) {
  Ids pieces;
  for (const char c : word) pieces.push_back(ids.at(std::string(1, c)));
  while (true) {
    size_t best = pieces.size();
    int32_t rank = INT32_MAX;
    for (size_t i = 0; i + 1 < pieces.size(); ++i) {
      const auto at = merges.find({pieces[i], pieces[i + 1]});
      if (at != merges.end() && at->second.first < rank) rank = at->second.first, best = i;
    }
    if (best == pieces.size()) return pieces;
    pieces[best] = merges.at({pieces[best], pieces[best + 1]}).second;
    pieces.erase(pieces.begin() + static_cast<ptrdiff_t>(best) + 1);
  }
}

TEST(Bpe, EqualsNaiveMerging) {
  std::mt19937 rng(4);
  for (int round = 0; round < 200; ++round) {
    Bpe bpe;
    std::map<std::string, int32_t> ids;
    std::map<std::pair<int32_t, int32_t>, std::pair<int32_t, int32_t>> merges;
    std::vector<std::string> tokens;
    const auto add = [&](const std::string& token) {
      if (!ids.emplace(token, static_cast<int32_t>(tokens.size())).second) return;
      bpe.add_token(token, static_cast<int32_t>(tokens.size()));
      tokens.push_back(token);
    };
    for (const char* c : {"a", "b", "c"}) add(c);
    for (int32_t rank = 0; rank < 20; ++rank) {
      const std::string left = tokens[rng() % tokens.size()], right = tokens[rng() % tokens.size()];
      if (left.size() + right.size() > 8 || merges.count({ids[left], ids[right]}) != 0) continue;
      add(left + right);
      merges[{ids[left], ids[right]}] = {rank, ids[left + right]};
      bpe.add_merge(ids[left], ids[right], rank, ids[left + right]);
    }
    for (int i = 0; i < 20; ++i) {
      std::string word;
      for (uint64_t n = 1 + rng() % 40; n > 0; --n) word += static_cast<char>('a' + rng() % 3);
      Ids got;
      bpe.encode(word, got);
      ASSERT_EQ(got, naive_merge(word, ids, merges)) << word;
    }
  }
}

TEST(Bpe, LongWordsAreNotQuadratic) {
  const std::string word(1 << 20, 'a');  // a quadratic merge would take hours
  EXPECT_EQ(tokenizer().decode(tokenizer().encode(word, false), false), word);
}

std::string random_text(std::mt19937& rng, bool valid) {
  std::string text;
  for (uint64_t n = rng() % 40; n > 0; --n) {
    switch (rng() % 6) {
      case 0:
        text += static_cast<char>(rng() % 128);
        break;
      case 1:
        append_code_point(0x80 + rng() % 0x780, text);
        break;
      case 2:
        append_code_point(0x4E00 + rng() % 0x5000, text);
        break;
      case 3:
        append_code_point(0x1F300 + rng() % 0x400, text);
        break;
      case 4:
        text += std::string(1 + rng() % 3, " \n\t"[rng() % 3]);
        break;
      default:
        if (!valid) text += static_cast<char>(0x80 + rng() % 128);
    }
  }
  return text;
}

TEST(Tokenizer, RoundTripsAndIncrementalDecoding) {
  std::mt19937 rng(5);
  for (int round = 0; round < 3000; ++round) {
    const std::string text = random_text(rng, round % 2 == 0);
    const Ids ids = tokenizer().encode(text, false);
    const std::string whole = tokenizer().decode(ids, false);
    // Encoding what was decoded changes nothing more: it is valid and normalised.
    ASSERT_EQ(tokenizer().decode(tokenizer().encode(whole, false), false), whole);
    if (std::all_of(text.begin(), text.end(),
                    [](char c) { return static_cast<unsigned char>(c) < 0x80; })) {
      ASSERT_EQ(whole, text);
    }
    Detokenizer stream(shared(), false);
    std::string pieces;
    for (size_t at = 0; at < ids.size();) {
      const size_t n = std::min<size_t>(1 + rng() % 3, ids.size() - at);
      const std::string piece = stream.push({ids.data() + at, n});
      ASSERT_EQ(to_valid_utf8(piece), piece);
      pieces += piece;
      at += n;
    }
    pieces += stream.flush();
    ASSERT_EQ(pieces, whole);
  }
}

TEST(Tokenizer, NormalisesToNfc) {
  EXPECT_EQ(tokenizer().encode("e\u0301", false), tokenizer().encode("\u00e9", false));
  EXPECT_EQ(tokenizer().decode(tokenizer().encode("e\u0301", false), false), "\u00e9");
}

TEST(Utf8, ReplacesMaximalPieces) {
  EXPECT_EQ(to_valid_utf8("a\xFFz"), "a\uFFFDz");
  EXPECT_EQ(to_valid_utf8("\xE4\xBD"), "\uFFFD");  // one cut character
  EXPECT_EQ(to_valid_utf8("\xE4\xBDz"), "\uFFFDz");
  EXPECT_EQ(to_valid_utf8("\xF0\x80\x80\x80"),
            "\uFFFD\uFFFD\uFFFD\uFFFD");                           // overlong: no prefix is valid
  EXPECT_EQ(to_valid_utf8("\xED\xA0\x80"), "\uFFFD\uFFFD\uFFFD");  // a surrogate
}

class Scratch {
 public:
  Scratch()
      : path_(fs::temp_directory_path() /
              ("diffulex-text-" + std::to_string(std::random_device()()))) {
    fs::create_directories(path_);
  }
  ~Scratch() { fs::remove_all(path_); }
  std::string dir() const { return path_.string(); }
  void write(const std::string& name, const std::string& text) const {
    std::ofstream(path_ / name, std::ios::binary) << text;
  }

 private:
  fs::path path_;
};

TEST(Tokenizer, VocabAndMergesFilesGiveTheSameIds) {
  std::ifstream in(tiny() + "/tokenizer.json");
  const json whole = json::parse(in);
  Scratch scratch;
  scratch.write("vocab.json", whole["model"]["vocab"].dump());
  std::string merges = "#version: 0.2\n";
  for (const json& m : whole["model"]["merges"])
    merges += (m.is_string() ? m.get<std::string>()
                             : m[0].get<std::string>() + " " + m[1].get<std::string>()) +
              "\n";
  scratch.write("merges.txt", merges);
  fs::copy_file(tiny() + "/tokenizer_config.json", scratch.dir() + "/tokenizer_config.json");
  const auto other = Tokenizer::load(scratch.dir());
  std::mt19937 rng(6);
  for (int i = 0; i < 500; ++i) {
    const std::string text = random_text(rng, true);
    ASSERT_EQ(other->encode(text, true), tokenizer().encode(text, true));
  }
  EXPECT_EQ(other->encode("<|im_start|>user\nhi<|im_end|>", true),
            tokenizer().encode("<|im_start|>user\nhi<|im_end|>", true));
}

TEST(Tokenizer, AddedTokensStripAndStandAlone) {
  std::ifstream in(tiny() + "/tokenizer.json");
  json whole = json::parse(in);
  const auto token = [](int id, const char* content, bool l, bool r, bool word) {
    return json{{"id", id},        {"content", content},  {"lstrip", l},
                {"rstrip", r},     {"single_word", word}, {"normalized", false},
                {"special", false}};
  };
  whole["added_tokens"].push_back(token(1024, "<a>", true, true, false));
  whole["added_tokens"].push_back(token(1025, "<a><b>", false, false, false));
  whole["added_tokens"].push_back(token(1026, "cat", false, false, true));
  Scratch scratch;
  scratch.write("tokenizer.json", whole.dump());
  const auto t = Tokenizer::load(scratch.dir());
  const auto text_of = [&](const Ids& ids) { return t->decode(ids, true); };
  EXPECT_EQ(text_of(t->encode("x  <a>  y", false)), "x<a>y");  // blanks on both sides are swallowed
  EXPECT_EQ(t->encode("<a><b>", false), (Ids{1025}));          // the longest at one place
  EXPECT_EQ(t->encode("cat", false), (Ids{1026}));
  const Ids inside = t->encode("concatenate", false);
  EXPECT_EQ(std::count(inside.begin(), inside.end(), 1026), 0);
}

TEST(Chat, RendersAndChecks) {
  const std::vector<Message> turns = {{"system", "S"}, {"user", "U"}};
  EXPECT_EQ(
      render_chatml(tokenizer(), turns, ""),
      "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU<|im_end|>\n<|im_start|>assistant\n");
  EXPECT_EQ(render_chatml(tokenizer(), turns, R"({"add_generation_prompt": false})"),
            "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU<|im_end|>\n");
  const auto status_of = [&](std::span<const Message> messages, const char* options) {
    try {
      render_chatml(tokenizer(), messages, options);
    } catch (const Error& error) {
      return error.status();
    }
    return static_cast<diffulex_status>(DIFFULEX_OK);
  };
  EXPECT_EQ(status_of(turns, "[1]"), DIFFULEX_E_INVALID_ARGUMENT);
  EXPECT_EQ(status_of(turns, "{"), DIFFULEX_E_INVALID_ARGUMENT);
  EXPECT_EQ(status_of(turns, R"({"tools": []})"), DIFFULEX_E_UNKNOWN_OPTION);
  EXPECT_EQ(status_of(turns, R"({"add_generation_prompt": 1})"), DIFFULEX_E_INVALID_ARGUMENT);
  EXPECT_EQ(status_of(turns, R"({"enable_thinking": false})"), DIFFULEX_E_UNSUPPORTED);
  EXPECT_EQ(status_of({}, ""), DIFFULEX_E_INVALID_ARGUMENT);
  const Message nobody{"", "x"};
  EXPECT_EQ(status_of({&nobody, 1}, ""), DIFFULEX_E_INVALID_ARGUMENT);
}

TEST(Tokenizer, BrokenFilesAreNamed) {
  std::ifstream in(tiny() + "/tokenizer.json");
  const json good = json::parse(in);
  const auto fails = [&](const std::string& text, diffulex_status expected,
                         const std::string& named) {
    Scratch scratch;
    if (!text.empty()) scratch.write("tokenizer.json", text);
    try {
      Tokenizer::load(scratch.dir());
      ADD_FAILURE() << "loaded: " << named;
    } catch (const Error& error) {
      EXPECT_EQ(error.status(), expected) << error.message();
      EXPECT_NE(error.message().find(named), std::string::npos) << error.message();
      EXPECT_NE(error.message().find(scratch.dir()), std::string::npos) << error.message();
    }
  };
  const auto edited = [&](const std::function<void(json&)>& edit) {
    json copy = good;
    edit(copy);
    return copy.dump();
  };
  fails("", DIFFULEX_E_IO, "tokenizer.json");
  fails("not json", DIFFULEX_E_TOKENIZER, "JSON");
  fails("[]", DIFFULEX_E_TOKENIZER, "JSON");
  fails("{}", DIFFULEX_E_TOKENIZER, "model");
  fails(edited([](json& j) { j["model"]["type"] = "Unigram"; }), DIFFULEX_E_TOKENIZER, "Unigram");
  fails(edited([](json& j) { j["model"].erase("vocab"); }), DIFFULEX_E_TOKENIZER, "vocab");
  fails(edited([](json& j) { j["model"]["vocab"]["!"] = "zero"; }), DIFFULEX_E_TOKENIZER, "'!'");
  fails(edited([](json& j) { j["model"]["vocab"]["!"] = 1; }), DIFFULEX_E_TOKENIZER, "share id 1");
  fails(edited([](json& j) { j["model"]["vocab"]["!"] = 1e15; }), DIFFULEX_E_TOKENIZER, "'!'");
  fails(edited([](json& j) { j["model"]["vocab"]["!"] = -1; }), DIFFULEX_E_TOKENIZER, "-1");
  fails(edited([](json& j) { j["model"]["merges"].push_back("zz yy"); }), DIFFULEX_E_TOKENIZER,
        "zz yy");
  fails(edited([](json& j) { j["model"]["merges"].push_back("single"); }), DIFFULEX_E_TOKENIZER,
        "single");
  fails(edited([](json& j) {
          j["normalizer"] = {{"type", "Lowercase"}};
        }),
        DIFFULEX_E_TOKENIZER, "Lowercase");
  fails(edited([](json& j) {
          j["pre_tokenizer"] = {{"type", "Whitespace"}};
        }),
        DIFFULEX_E_TOKENIZER, "Whitespace");
  fails(edited([](json& j) { j["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = "(["; }),
        DIFFULEX_E_TOKENIZER, "([");
  fails(edited([](json& j) { j["pre_tokenizer"]["pretokenizers"][0]["behavior"] = "Removed"; }),
        DIFFULEX_E_TOKENIZER, "Removed");
  fails(edited([](json& j) { j["decoder"]["type"] = "WordPiece"; }), DIFFULEX_E_TOKENIZER,
        "decoder");
  fails(edited([](json& j) { j["added_tokens"][0].erase("content"); }), DIFFULEX_E_TOKENIZER,
        "content");
  EXPECT_THROW(tokenizer().decode(Ids{1024}, false), Error);
  EXPECT_THROW(tokenizer().decode(Ids{-1}, false), Error);
}

}  // namespace
}  // namespace diffulex::text
