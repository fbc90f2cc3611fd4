// The tokenizers package and ours give the same for many texts: see
// tests/oracle/tokenizer_goldens.py.
#include <gtest/gtest.h>

#include <cstdlib>
#include <map>

#include "text/tokenizer_spec.h"
#include "text/utf8.h"
#include "token_golden.h"
#include "token_texts.h"

namespace diffulex::text {
namespace {

using Ids = std::vector<int32_t>;
using Json = nlohmann::json;

const std::string kDir = std::string(DIFFULEX_TEST_DATA_DIR) + "/tokenizers/";
constexpr const char* kRealDir = "DIFFULEX_SDAR_4B_CHAT";

std::string show(std::string_view text) {
  return Json(std::string(text.substr(0, 300))).dump(-1, ' ', true, Json::error_handler_t::replace);
}

// Counts differences and shows the first ones.
class Differences {
 public:
  explicit Differences(std::string what) : what_(std::move(what)) {}
  ~Differences() { EXPECT_EQ(count_, 0U) << what_; }
  Differences(const Differences&) = delete;
  Differences& operator=(const Differences&) = delete;

  void compare(uint32_t ours, uint32_t theirs, size_t index, std::string_view text) {
    if ((ours & TokenGolden::kMask) == theirs || ++count_ > 5) return;
    ADD_FAILURE() << what_ << " of text " << index << " differ: " << show(text);
  }

 private:
  std::string what_;
  size_t count_ = 0;
};

// One tokenizer and its golden.
class PackageGolden {
 public:
  PackageGolden(const std::string& dir, const std::string& golden,
                const std::vector<std::string>& added)
      : spec_(read_tokenizer_spec(dir)),
        tokenizer_(Tokenizer::load(dir)),
        golden_(TokenGolden::read(kDir + golden + ".golden")) {
    TokenTexts maker(added);
    for (uint32_t i = 0; i < TokenTexts::kCount; ++i) texts_.push_back(maker.text(i));
  }

  void check_texts() const {
    FoldedHash hash;
    for (const std::string& text : texts_) hash.add(fold(text));
    ASSERT_EQ(hash.state(), golden_.all_texts) << "the texts are not those of the golden";
    ASSERT_EQ(golden_.ids.size(), texts_.size());
    ASSERT_EQ(golden_.plain_ids.size(), texts_.size());
    ASSERT_EQ(golden_.decoded.size(), texts_.size());
    EXPECT_EQ(static_cast<uint64_t>(tokenizer_->vocab_size()), golden_.vocab_size);
  }

  void check_whole() const {
    ASSERT_GE(golden_.whole.size(), 300U);
    size_t shown = 0;
    for (size_t i = 0; i < golden_.whole.size() && shown < 5; ++i) {
      const Ids expected(golden_.whole[i].begin(), golden_.whole[i].end());
      const Ids ids = tokenizer_->encode(texts_[i], true);
      if (ids == expected) continue;
      ++shown;
      ADD_FAILURE() << "text " << i << " " << show(texts_[i]) << "\n" << difference(ids, expected);
    }
  }

  void check_ids() const {
    Differences ids("ids"), plain("ids without special tokens"), decoded("decoded texts");
    for (size_t i = 0; i < texts_.size(); ++i) {
      const Ids own = tokenizer_->encode(texts_[i], true);
      ids.compare(fold(own), golden_.ids[i], i, texts_[i]);
      plain.compare(fold(tokenizer_->encode(texts_[i], false)), golden_.plain_ids[i], i, texts_[i]);
      decoded.compare(fold(tokenizer_->decode(own, false)), golden_.decoded[i], i, texts_[i]);
    }
  }

  void check_pieces() const {
    const PreTokenizer pre_tokenizer(spec_.steps);
    Differences normal("normal forms"), pieces("pieces");
    std::vector<std::string> texts = sweep_texts();
    ASSERT_GT(golden_.pieces.size(), texts.size());
    const size_t more = golden_.pieces.size() - texts.size();
    ASSERT_LE(more, texts_.size());
    texts.insert(texts.end(), texts_.begin(), texts_.begin() + static_cast<std::ptrdiff_t>(more));
    ASSERT_EQ(golden_.normal.size(), spec_.nfc ? texts.size() : 0);
    for (size_t i = 0; i < texts.size(); ++i) {
      const std::string text = spec_.nfc ? to_nfc(texts[i]) : texts[i];
      if (spec_.nfc) normal.compare(fold(text), golden_.normal[i], i, texts[i]);
      FoldedHash sizes;
      for (const std::string_view piece : pre_tokenizer.cut(text).views) sizes.add(piece.size());
      pieces.compare(sizes.folded(), golden_.pieces[i], i, texts[i]);
    }
  }

  void check_sequences() const {
    ASSERT_EQ(golden_.kept.size(), golden_.skipped.size());
    ASSERT_GE(golden_.kept.size(), 3000U);
    Differences kept("texts of ids"), skipped("texts of ids without special tokens");
    for (size_t i = 0; i < golden_.kept.size(); ++i) {
      const Ids ids = id_sequence(i, tokenizer_->vocab_size());
      const std::string text = tokenizer_->decode(ids, true);
      kept.compare(fold(text), golden_.kept[i], i, text);
      skipped.compare(fold(tokenizer_->decode(ids, false)), golden_.skipped[i], i, text);
    }
  }

 private:
  std::string difference(const Ids& ids, const Ids& expected) const {
    size_t i = 0;
    while (i < ids.size() && i < expected.size() && ids[i] == expected[i]) ++i;
    const auto names = [&](const Ids& of) {
      std::string out;
      for (size_t k = i; k < std::min(of.size(), i + 5); ++k) {
        out.append(" ").append(std::to_string(of[k])).append("=");
        out += show(tokenizer_->decode({&of[k], 1}, true));
      }
      return out;
    };
    return "from id " + std::to_string(i) + " ours:" + names(ids) + " theirs:" + names(expected);
  }

  TokenizerSpec spec_;
  std::shared_ptr<const Tokenizer> tokenizer_;
  TokenGolden golden_;
  std::vector<std::string> texts_;
};

std::vector<std::string> added_of(const Json& tokenizer) {
  std::vector<std::string> added;
  for (const auto& token : tokenizer["added_tokens"]) added.push_back(token["content"]);
  return added;
}

class TextPackage : public ::testing::TestWithParam<const char*> {};

TEST_P(TextPackage, AllOfAKind) {
  const std::string kind = GetParam();
  const TempDir dir;
  std::filesystem::copy(kDir + kind + ".json", dir.file("tokenizer.json"));
  const PackageGolden golden(dir.path(), kind, added_of(read_json(kDir + kind + ".json")));
  ASSERT_NO_FATAL_FAILURE(golden.check_texts());
  golden.check_whole();
  golden.check_ids();
  golden.check_pieces();
  golden.check_sequences();
}

INSTANTIATE_TEST_SUITE_P(Kinds, TextPackage, ::testing::Values("qwen2", "bailing", "seed-coder"),
                         [](const auto& param) {
                           const std::string kind = param.param;
                           return kind == "seed-coder" ? std::string("seed_coder") : kind;
                         });

// The published files, which are too large to lie here: vocab.json, merges.txt and a config. The
// golden knows the flags of the added tokens alone. That the config names the mask token as a
// special one, whose flag says otherwise, is left out here as it was there.
TEST(TextPackage, RealFiles) {
  const char* dir = std::getenv(kRealDir);
  if (dir == nullptr) GTEST_SKIP() << kRealDir << " does not name the files of SDAR-4B-Chat";
  const auto config = read_json(std::string(dir) + "/tokenizer_config.json");
  std::map<int, std::string> tokens;
  for (const auto& [id, token] : config["added_tokens_decoder"].items()) {
    tokens[std::stoi(id)] = token["content"];
  }
  std::vector<std::string> added;
  for (const auto& token : tokens) added.push_back(token.second);
  const TempDir flags_alone;
  for (const char* name : {"vocab.json", "merges.txt"}) {
    std::filesystem::create_symlink(std::string(dir) + "/" + name, flags_alone.file(name));
  }
  flags_alone.write("tokenizer_config.json",
                    Json{{"added_tokens_decoder", config["added_tokens_decoder"]}});
  const PackageGolden golden(flags_alone.path(), "sdar-4b-chat", added);
  ASSERT_NO_FATAL_FAILURE(golden.check_texts());
  golden.check_whole();
  golden.check_ids();
  golden.check_sequences();
  const auto tokenizer = Tokenizer::load(dir);
  const Ids mask = tokenizer->encode("<|MASK|>", true);
  EXPECT_EQ(mask, Ids{tokenizer->special("mask")});
  EXPECT_TRUE(tokenizer->is_special(mask[0]));
}

}  // namespace
}  // namespace diffulex::text
