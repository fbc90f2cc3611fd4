// Tokenizer files that are broken or of another kind.
#include "errors_checkpoint.h"

namespace diffulex_tests::errors {
namespace {

using nlohmann::json;

constexpr const char* kTokenizer = "tokenizer.json";

Outcome load_fails(const std::string& dir, const std::string& culprit) {
  diffulex_tokenizer* tokenizer = nullptr;
  return attempt(
      culprit, [&](auto** e) { return diffulex_tokenizer_load(dir.c_str(), &tokenizer, e); },
      tokenizer);
}

// Alone, and as the tokenizer of an engine.
Outcomes directory_fails(const TempDir& dir, const std::string& culprit) {
  const TempDir model;
  TinyCheckpoint().write(model.path());
  return {load_fails(dir.path(), culprit), create_fails(model.path(), culprit, [&](auto& config) {
            config.tokenizer_dir = dir.path().c_str();
          })};
}

Outcomes content_fails(const std::string& content) {
  const TempDir dir;
  write_file(dir / kTokenizer, content);
  return directory_fails(dir, kTokenizer);
}

Outcomes changed_fails(const std::function<void(json&)>& change) {
  json tokenizer = json::parse(read_file(model_dir() + "/" + kTokenizer));
  change(tokenizer);
  return content_fails(tokenizer.dump());
}

// Metadata of the model speaks of ids, so a broken tokenizer there is found by a plan already.
Outcomes in_model_directory() {
  const TempDir dir;
  TinyCheckpoint().write(dir.path());
  write_file(dir / kTokenizer, "{");
  return both_fail(dir.path(), kTokenizer);
}

Outcomes no_json() {
  return content_fails("") + content_fails("{") + content_fails("[]") +
         content_fails(std::string(1000, '[')) + in_model_directory();
}

Outcomes no_model() {
  return changed_fails([](json& t) { t.erase("model"); }) +
         changed_fails([](json& t) { t["model"] = "BPE"; }) +
         changed_fails([](json& t) { t["model"].erase("vocab"); }) +
         changed_fails([](json& t) { t["model"].erase("merges"); });
}

Outcomes other_kinds() {
  const auto typed = [](const char* part, const char* type) {
    return changed_fails([=](json& t) { t[part] = {{"type", type}}; });
  };
  return changed_fails([](json& t) { t["model"]["type"] = "WordPiece"; }) +
         changed_fails([](json& t) { t["model"]["type"] = "Unigram"; }) +
         changed_fails([](json& t) { t["model"]["dropout"] = 0.1; }) +
         typed("normalizer", "Lowercase") + typed("pre_tokenizer", "Whitespace") +
         typed("decoder", "WordPiece");
}

Outcomes bad_merges() {
  const auto merge = [](const json& value) {
    return changed_fails([&](json& t) { t["model"]["merges"].push_back(value); });
  };
  return merge("zzzzz yyyyy") + merge({"zzzzz", "a"}) + merge("onlyone") + merge("a b c") +
         merge(7) + merge({"a"});
}

Outcomes bad_ids() {
  const auto id = [](const json& value) {
    return changed_fails([&](json& t) { t["model"]["vocab"]["a"] = value; });
  };
  return id(-1) + id(1 << 30) + id("7") + id(nullptr) + id(1.5);
}

Outcomes id_twice() {
  return changed_fails([](json& t) { t["model"]["vocab"]["a"] = t["model"]["vocab"]["b"]; }) +
         changed_fails([](json& t) { t["added_tokens"][1]["id"] = t["added_tokens"][0]["id"]; });
}

Outcomes bad_pattern() {
  return changed_fails([](json& t) {
    t["pre_tokenizer"] = {
        {"type", "Sequence"},
        {"pretokenizers",
         {{{"type", "Split"}, {"pattern", {{"Regex", "("}}}, {"behavior", "Isolated"}},
          {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}}}}};
  });
}

Outcomes missing_byte() {
  return changed_fails([](json& t) {
    t["model"]["merges"] = json::array();
    t["model"]["vocab"].erase("a");
  });
}

Outcomes broken_config() {
  const TempDir dir;
  constexpr const char* kFile = "tokenizer_config.json";
  write_file(dir / kTokenizer, read_file(model_dir() + "/" + kTokenizer));
  write_file(dir / kFile, "{");
  Outcomes outcomes = directory_fails(dir, kFile);
  write_file(dir / kFile, R"({"added_tokens_decoder": {"x": {"content": "y"}}})");
  return outcomes + directory_fails(dir, kFile);
}

Outcomes missing_file() {
  const TempDir dir;
  return {load_fails(dir.path(), kTokenizer), load_fails(dir / "nothing", kTokenizer)};
}

// The repository's tokenizer, of 1024 ids, beside a model of 64.
Outcomes larger_than_the_model() {
  const TempDir dir;
  TinyCheckpoint().write(dir.path());
  write_file(dir / kTokenizer, read_file(model_dir() + "/" + kTokenizer));
  return {create_fails(dir.path(), dir.path())};
}

Outcomes parts() {
  const TempDir dir;
  TinyCheckpoint().write(dir.path());
  write_file(dir / "merges.txt", "a b\n");
  return {create_fails(dir.path(), kTokenizer)};
}

}  // namespace

void add_tokenizer_cases(Cases* cases) {
  Cases& c = *cases;
  c["tokenizer-missing"] = missing_file;
  c["tokenizer-no-json"] = no_json;
  c["tokenizer-no-model"] = no_model;
  c["tokenizer-kind"] = other_kinds;
  c["tokenizer-merges"] = bad_merges;
  c["tokenizer-id"] = bad_ids;
  c["tokenizer-id-twice"] = id_twice;
  c["tokenizer-byte"] = missing_byte;
  c["tokenizer-pattern"] = bad_pattern;
  c["tokenizer-vocabulary"] = larger_than_the_model;
  c["tokenizer-parts"] = parts;
  c["tokenizer-config"] = broken_config;
}

}  // namespace diffulex_tests::errors
