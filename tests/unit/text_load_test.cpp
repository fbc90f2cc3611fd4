// Reading tokenizer files: what they mean, and every way in which they are refused.
#include <gtest/gtest.h>

#include <functional>

#include "expect_error.h"
#include "text_files.h"

namespace diffulex::text {
namespace {

using diffulex::testing::detail;
using diffulex::testing::expect_error;
using nlohmann::json;

TEST(TextLoad, TinySdar) {
  EXPECT_EQ(tiny()->vocab_size(), 1024);
  EXPECT_EQ(tiny()->special("eos"), 1022);
  EXPECT_EQ(tiny()->special("pad"), 1020);
  EXPECT_EQ(tiny()->special("mask"), 1023);
  EXPECT_EQ(tiny()->special("bos"), -1);  // tokenizer_config.json says that there is none
  EXPECT_EQ(tiny()->special("<|im_start|>"), 1021);
  EXPECT_EQ(tiny()->special("!"), 0);
  EXPECT_EQ(tiny()->special("no such token"), -1);
  EXPECT_EQ(tiny()->special(""), -1);
  EXPECT_TRUE(tiny()->is_special(1022));
  EXPECT_FALSE(tiny()->is_special(0));
}

json tokens(const json& list) {
  json root = plain_tokenizer();
  root["added_tokens"] = list;
  return root;
}

TEST(TextLoad, RolesOfTheConfigFiles) {
  const TempDir dir;
  dir.write("tokenizer.json", tokens({{{"id", 300}, {"content", "<e>"}, {"special", true}},
                                      {{"id", 301}, {"content", "<m>"}, {"special", false}},
                                      {{"id", 302}, {"content", "<x>"}, {"special", false}}}));
  dir.write("tokenizer_config.json",
            json{{"eos_token", {{"content", "<e>"}}}, {"extra_special_tokens", {"<x>"}}});
  dir.write("special_tokens_map.json", json{{"eos_token", "<m>"}, {"mask_token", "<m>"}});
  dir.write("generation_config.json",
            json{{"pad_token_id", 302}, {"bos_token_id", {301, 300}}, {"eos_token_id", 1}});
  const auto t = Tokenizer::load(dir.path());
  EXPECT_EQ(t->special("eos"), 300);
  EXPECT_EQ(t->special("mask"), 301);
  EXPECT_EQ(t->special("pad"), 302);
  EXPECT_EQ(t->special("bos"), 301);
  EXPECT_TRUE(t->is_special(301));  // by its role
  EXPECT_TRUE(t->is_special(302));
  EXPECT_EQ(t->encode("<m>", false), (std::vector<int32_t>{'<', 'm', '>'}));
}

TEST(TextLoad, ARoleIsNoWord) {
  json root = plain_tokenizer();
  root["model"]["vocab"]["mask"] = 256;
  EXPECT_EQ(load_json(root)->special("mask"), -1);
}

TEST(TextLoad, ARoleMayNameATokenOfTheVocabulary) {
  json root = plain_tokenizer();
  root["model"]["vocab"]["</s>"] = 256;
  const TempDir dir;
  dir.write("tokenizer.json", root);
  dir.write("tokenizer_config.json", json{{"eos_token", "</s>"}});
  const auto t = Tokenizer::load(dir.path());
  EXPECT_EQ(t->special("eos"), 256);
  EXPECT_EQ(t->encode("a</s>", true), (std::vector<int32_t>{'a', 256}));
  EXPECT_EQ(t->encode("</s>", false).size(), 4u);
  EXPECT_EQ(t->decode(std::vector<int32_t>{256}, false), "");
}

TEST(TextLoad, AddedTokensOfAVocabularyInParts) {
  const TempDir dir;
  dir.write("vocab.json", byte_vocab());
  dir.write("merges.txt", std::string("#version: 0.2\r\n\r\n"));
  dir.write("added_tokens.json", json{{"<old>", 300}, {"<more>", 302}, {"<t>", 301}});
  dir.write("tokenizer_config.json",
            json{{"added_tokens_decoder",
                  {{"300", {{"content", "<new>"}, {"special", true}, {"rstrip", true}}},
                   {"301", {{"content", "<t>"}, {"special", false}}}}}});
  const auto t = Tokenizer::load(dir.path());
  EXPECT_EQ(t->vocab_size(), 303);
  EXPECT_EQ(t->special("<new>"), 300);
  EXPECT_EQ(t->special("<old>"), -1);  // tokenizer_config.json speaks of that id too
  EXPECT_EQ(t->special("<more>"), 302);
  EXPECT_EQ(t->encode("<new> \n<t>", true), (std::vector<int32_t>{300, 301}));
  EXPECT_EQ(t->encode("<t>", false), (std::vector<int32_t>{301}));
}

TEST(TextLoad, UnknownPartsThatChangeNothingAreFine) {
  json root = plain_tokenizer();
  root["truncation"] = {{"max_length", 5}};
  root["post_processor"] = {{"type", "TemplateProcessing"}};
  root["model"]["unk_token"] = nullptr;
  root["model"]["dropout"] = nullptr;
  root["model"]["continuing_subword_prefix"] = "";
  root.erase("normalizer");
  root.erase("added_tokens");
  EXPECT_EQ(load_json(root)->vocab_size(), 256);
}

// ---- broken files ----

void expect_refusal(const TempDir& dir, const std::string& file, diffulex_status status,
                    std::initializer_list<std::string> parts) {
  const Error error = expect_error(status, parts, [&] { Tokenizer::load(dir.path()); });
  EXPECT_EQ(detail(error, "path"), dir.file(file)) << error.message();
  EXPECT_NE(error.message().find(file), std::string::npos) << error.message();
}

void expect_refusal(const std::string& file, const json& content,
                    std::initializer_list<std::string> parts) {
  const TempDir dir;
  if (file != "tokenizer.json") dir.write("tokenizer.json", plain_tokenizer());
  dir.write(file, content);
  expect_refusal(dir, file, DIFFULEX_E_TOKENIZER, parts);
}

void expect_refusal_of(const std::function<void(json&)>& damage,
                       std::initializer_list<std::string> parts) {
  json root = plain_tokenizer();
  damage(root);
  expect_refusal("tokenizer.json", root, parts);
}

TEST(TextLoad, MissingFiles) {
  const TempDir dir;
  expect_refusal(dir, "tokenizer.json", DIFFULEX_E_IO, {});
  dir.write("vocab.json", byte_vocab());
  expect_refusal(dir, "tokenizer.json", DIFFULEX_E_IO, {});
  expect_error(DIFFULEX_E_IO, {"tokenizer.json"}, [&] { Tokenizer::load(dir.path() + "/none"); });
}

TEST(TextLoad, UnreadableFiles) {
  const TempDir dir;
  std::filesystem::create_directory(dir.file("tokenizer.json"));
  expect_refusal(dir, "tokenizer.json", DIFFULEX_E_IO, {});
}

TEST(TextLoad, FilesThatAreNotJson) {
  for (const char* content : {"", "{", "nonsense", "{} {}", "{\"a\": \"\xFF\"}"}) {
    const TempDir dir;
    dir.write("tokenizer.json", std::string(content));
    expect_refusal(dir, "tokenizer.json", DIFFULEX_E_TOKENIZER, {});
    dir.write("tokenizer.json", plain_tokenizer());
    dir.write("tokenizer_config.json", std::string(content));
    expect_refusal(dir, "tokenizer_config.json", DIFFULEX_E_TOKENIZER, {});
  }
  expect_refusal("tokenizer.json", json::array(), {"object"});
}

TEST(TextLoad, BrokenModels) {
  expect_refusal_of([](json& r) { r.erase("model"); }, {"model"});
  expect_refusal_of([](json& r) { r["model"] = 1; }, {"model"});
  expect_refusal_of([](json& r) { r["model"].erase("type"); }, {"model.type"});
  expect_refusal_of([](json& r) { r["model"]["type"] = "Unigram"; }, {"model.type", "Unigram"});
  expect_refusal_of([](json& r) { r["model"].erase("vocab"); }, {"model.vocab"});
  expect_refusal_of([](json& r) { r["model"].erase("merges"); }, {"model.merges"});
  expect_refusal_of([](json& r) { r["model"]["dropout"] = 0.1; }, {"model.dropout"});
  expect_refusal_of([](json& r) { r["model"]["end_of_word_suffix"] = "</w>"; },
                    {"end_of_word_suffix"});
  expect_refusal_of([](json& r) { r["model"]["continuing_subword_prefix"] = "##"; },
                    {"continuing_subword_prefix"});
  expect_refusal_of([](json& r) { r["model"]["ignore_merges"] = "yes"; }, {"model.ignore_merges"});
}

TEST(TextLoad, BrokenVocabularies) {
  expect_refusal_of([](json& r) { r["model"]["vocab"] = json::array(); }, {"model.vocab"});
  expect_refusal_of([](json& r) { r["model"]["vocab"]["xy"] = 7; }, {"7"});
  expect_refusal_of([](json& r) { r["model"]["vocab"]["xy"] = -1; }, {"xy"});
  expect_refusal_of([](json& r) { r["model"]["vocab"]["xy"] = 1.5; }, {"xy"});
  expect_refusal_of([](json& r) { r["model"]["vocab"]["xy"] = "1"; }, {"xy"});
  expect_refusal_of([](json& r) { r["model"]["vocab"]["xy"] = 2147483648U; }, {"xy"});
  expect_refusal_of([](json& r) { r["model"]["vocab"]["xy"] = 2147483647; }, {"xy"});
  expect_refusal_of([](json& r) { r["model"]["vocab"]["xy"] = 1ULL << 63; }, {"xy"});
  expect_refusal_of([](json& r) { r["model"]["vocab"][""] = 256; }, {"empty"});
  expect_refusal_of([](json& r) { r["model"]["vocab"].erase("a"); }, {"97"});
}

TEST(TextLoad, BrokenMerges) {
  const auto with = [](const json& merges) {
    return [merges](json& r) { r["model"]["merges"] = merges; };
  };
  expect_refusal_of(with("a b"), {"model.merges"});
  expect_refusal_of(with({1}), {"model.merges[0]"});
  expect_refusal_of(with({"ab"}), {"model.merges[0]"});
  expect_refusal_of(with({"a b c"}), {"model.merges[0]"});
  expect_refusal_of(with(json::array({json::array({"a"})})), {"model.merges[0]"});
  expect_refusal_of(with({"a b"}), {"\"ab\""});
  expect_refusal_of(with({"zz b"}), {"\"zz\""});
  expect_refusal_of(with(json::array({json::array({"a", "zz"})})), {"\"zz\""});
}

TEST(TextLoad, BrokenMergesTxt) {
  const TempDir dir;
  dir.write("vocab.json", byte_vocab());
  dir.write("merges.txt", std::string("#version: 0.2\nab\n"));
  expect_refusal(dir, "merges.txt", DIFFULEX_E_TOKENIZER, {"line 2"});
  dir.write("merges.txt", std::string("#version: 0.2\na b\n"));
  expect_refusal(dir, "merges.txt", DIFFULEX_E_TOKENIZER, {"\"ab\""});
  dir.write("merges.txt", std::string());
  dir.write("vocab.json", std::string("[]"));
  expect_refusal(dir, "vocab.json", DIFFULEX_E_TOKENIZER, {});
}

TEST(TextLoad, UnknownSteps) {
  expect_refusal_of(
      [](json& r) {
        r["normalizer"] = {{"type", "Lowercase"}};
      },
      {"normalizer", "Lowercase"});
  expect_refusal_of([](json& r) { r["normalizer"] = "NFC"; }, {"normalizer"});
  expect_refusal_of(
      [](json& r) {
        r["pre_tokenizer"] = {{"type", "Metaspace"}};
      },
      {"pre_tokenizer", "Metaspace"});
  expect_refusal_of([](json& r) { r["pre_tokenizer"] = nullptr; }, {"pre_tokenizer"});
  expect_refusal_of([](json& r) { r.erase("pre_tokenizer"); }, {"pre_tokenizer"});
  expect_refusal_of(
      [](json& r) {
        r["decoder"] = {{"type", "Metaspace"}};
      },
      {"decoder", "Metaspace"});
  expect_refusal_of([](json& r) { r["decoder"] = nullptr; }, {"decoder"});
  const json bytes = byte_level(false, false);
  expect_refusal_of(
      [&](json& r) {
        r["pre_tokenizer"] = {{"type", "Sequence"}, {"pretokenizers", {bytes, bytes}}};
      },
      {"pretokenizers[1]", "ByteLevel"});
}

json split(const json& pattern, const json& behavior) {
  const json step = {{"type", "Split"}, {"pattern", pattern}, {"behavior", behavior}};
  return {{"type", "Sequence"}, {"pretokenizers", {step, byte_level(false, false)}}};
}

TEST(TextLoad, BrokenSplits) {
  const auto with = [](const json& pre_tokenizer) {
    return [pre_tokenizer](json& r) { r["pre_tokenizer"] = pre_tokenizer; };
  };
  const auto bad_regex = [&](const char* pattern) {
    expect_refusal_of(with(split({{"Regex", pattern}}, "Isolated")),
                      {"pretokenizers[0].pattern.Regex"});
  };
  bad_regex("(");
  bad_regex("\\p{Nonsense}");
  bad_regex("\\h+");    // hexadecimal digits to one engine, blanks to the other
  bad_regex("[a&&b]");  // an intersection to one engine
  bad_regex("[a[bc]]");
  bad_regex("[]a]");
  bad_regex("\\p{N}{1,3}+");  // possessive to one engine
  bad_regex("(?m).+");
  expect_refusal_of(with(split({{"String", ""}}, "Isolated")), {"pattern.String"});
  expect_refusal_of(with(split({{"String", "x"}}, "Sideways")), {"behavior", "Sideways"});
  expect_refusal_of(with(split({{"Glob", "x"}}, "Isolated")), {"pattern"});
  expect_refusal_of(with(split("x", "Isolated")), {"pattern"});
}

TEST(TextLoad, BrokenAddedTokens) {
  const auto with = [](const json& token) {
    return [token](json& r) { r["added_tokens"] = {token}; };
  };
  expect_refusal_of([](json& r) { r["added_tokens"] = 1; }, {"added_tokens"});
  expect_refusal_of(with({{"content", "<t>"}}), {"added_tokens[0].id"});
  expect_refusal_of(with({{"id", 300}}), {"added_tokens[0].content"});
  expect_refusal_of(with({{"id", 300}, {"content", ""}}), {"added_tokens[0].content"});
  expect_refusal_of(with({{"id", 300}, {"content", "<t>"}, {"special", 1}}),
                    {"added_tokens[0].special"});
  expect_refusal_of(with({{"id", 5}, {"content", "<t>"}}), {"<t>", "5"});
  expect_refusal_of(with({{"id", 300}, {"content", "a"}}), {"\"a\""});
  expect_refusal("tokenizer_config.json", {{"added_tokens_decoder", {{"x", {{"content", "<t>"}}}}}},
                 {"added_tokens_decoder.x"});
  expect_refusal("added_tokens.json", {{"<t>", "300"}}, {"<t>"});
}

TEST(TextLoad, AddedTokensMayNotShareAnId) {
  expect_refusal("tokenizer.json",
                 tokens({{{"id", 300}, {"content", "<s>"}}, {{"id", 300}, {"content", "<t>"}}}),
                 {"<t>", "300"});
}

TEST(TextLoad, BrokenRoles) {
  expect_refusal("tokenizer_config.json", {{"eos_token", 5}}, {"eos_token"});
  expect_refusal("special_tokens_map.json", {{"eos_token", json::object()}}, {"eos_token.content"});
  expect_refusal("generation_config.json", {{"eos_token_id", "5"}}, {"eos_token_id"});
  expect_refusal("generation_config.json", {{"eos_token_id", -5}}, {"eos_token_id"});
}

}  // namespace
}  // namespace diffulex::text
