#include "text/tokenizer_files.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/error.h"

namespace diffulex::text {
namespace {

using nlohmann::json;

// Qwen2's pre-tokenizer, for directories that hold vocab.json and merges.txt only.
constexpr const char* kQwen2Split =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
// What ByteLevel with use_regex cuts by.
constexpr const char* kGpt2Split =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

[[noreturn]] void broken(const std::string& path, const std::string& what) {
  throw Error(DIFFULEX_E_TOKENIZER, path + ": " + what).with("path", path);
}

std::string read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  if (!in || !(text << in.rdbuf()))
    throw Error(DIFFULEX_E_IO, path + ": cannot be read").with("path", path);
  return text.str();
}

json read_json(const std::string& path) {
  json value = json::parse(read_file(path), nullptr, false);
  if (!value.is_object()) broken(path, "is not a JSON object");
  return value;
}

json read_optional(const std::string& path) {
  return std::filesystem::exists(path) ? read_json(path) : json::object();
}

std::string text_at(const json& object, const char* key) {
  const auto at = object.find(key);
  return at != object.end() && at->is_string() ? at->get<std::string>() : "";
}

bool flag_at(const json& object, const char* key, bool otherwise) {
  const auto at = object.find(key);
  return at != object.end() && at->is_boolean() ? at->get<bool>() : otherwise;
}

int32_t id_of(const json& value, const std::string& path, const std::string& what) {
  if (!value.is_number_integer()) broken(path, what + " has no integer id");
  const auto id = value.get<int64_t>();
  if (id < 0 || id > 1 << 28) broken(path, what + " has id " + std::to_string(id));
  return static_cast<int32_t>(id);
}

void read_vocabulary(const json& vocabulary, TokenizerFiles& files) {
  if (!vocabulary.is_object()) broken(files.path, "the vocabulary is no object");
  std::map<int32_t, std::string> owner;
  for (const auto& [spelling, id] : vocabulary.items()) {
    const int32_t number = id_of(id, files.path, "token '" + spelling + "'");
    if (const auto [at, fresh] = owner.emplace(number, spelling); !fresh)
      broken(files.path, "tokens '" + at->second + "' and '" + spelling + "' share id " +
                             std::to_string(number));
    files.vocabulary.emplace(spelling, number);
  }
}

void add_merge(TokenizerFiles& files, const std::string& path, std::string left,
               std::string right) {
  for (const std::string& part : {left, right, left + right})
    if (files.vocabulary.count(part) == 0)
      broken(path, "merge '" + left + " " + right + "' names '" + part +
                       "', which is not in the vocabulary");
  files.merges.emplace_back(std::move(left), std::move(right));
}

void add_merge_line(TokenizerFiles& files, const std::string& path, const std::string& line) {
  const size_t space = line.find(' ');
  if (space == std::string::npos || space == 0 || space + 1 == line.size() ||
      line.find(' ', space + 1) != std::string::npos)
    broken(path, "merge '" + line + "' is not a pair");
  add_merge(files, path, line.substr(0, space), line.substr(space + 1));
}

void read_model(const json& model, TokenizerFiles& files) {
  if (!model.is_object()) broken(files.path, "key 'model' is missing");
  const std::string type = text_at(model, "type");
  if (type != "BPE") broken(files.path, "model.type '" + type + "' is not supported; BPE is");
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"})
    if (!text_at(model, key).empty())
      broken(files.path, std::string("model.") + key + " is not supported");
  if (flag_at(model, "byte_fallback", false))
    broken(files.path, "model.byte_fallback is not supported");
  files.ignore_merges = flag_at(model, "ignore_merges", false);
  if (!model.contains("vocab")) broken(files.path, "key 'model.vocab' is missing");
  read_vocabulary(model["vocab"], files);
  const json merges = model.value("merges", json::array());
  for (const json& merge : merges) {
    if (merge.is_string()) {
      add_merge_line(files, files.path, merge.get<std::string>());
    } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() &&
               merge[1].is_string()) {
      add_merge(files, files.path, merge[0].get<std::string>(), merge[1].get<std::string>());
    } else {
      broken(files.path, "a merge is neither text nor a pair");
    }
  }
}

void read_normalizer(const json& normalizer, TokenizerFiles& files) {
  if (normalizer.is_null()) return;
  const std::string type = text_at(normalizer, "type");
  if (type == "NFC") {
    files.nfc = true;
  } else if (type == "Sequence" && normalizer.contains("normalizers")) {
    for (const json& step : normalizer["normalizers"]) read_normalizer(step, files);
  } else {
    broken(files.path, "normalizer '" + type + "' is not supported");
  }
}

std::string pattern_of(const json& split, const std::string& path) {
  const json pattern = split.value("pattern", json::object());
  if (const std::string regex = text_at(pattern, "Regex"); !regex.empty()) return regex;
  if (const std::string literal = text_at(pattern, "String");
      !literal.empty() && literal.find("\\E") == std::string::npos)
    return "\\Q" + literal + "\\E";
  broken(path, "a Split pre-tokenizer has no usable pattern");
}

// Returns true when the step is the ByteLevel one, which must be the last.
bool read_pre_tokenizer(const json& step, TokenizerFiles& files) {
  const std::string type = step.is_object() ? text_at(step, "type") : "";
  if (type == "Sequence" && step.contains("pretokenizers")) {
    bool byte_level = false;
    for (const json& inner : step["pretokenizers"]) {
      if (byte_level) broken(files.path, "a pre-tokenizer follows ByteLevel");
      byte_level = read_pre_tokenizer(inner, files);
    }
    return byte_level;
  }
  if (type == "Split") {
    if (text_at(step, "behavior") != "Isolated")
      broken(files.path,
             "Split behavior '" + text_at(step, "behavior") + "' is not supported; Isolated is");
    files.splits.push_back(
        {pattern_of(step, files.path)});  // with Isolated, invert changes nothing
    return false;
  }
  if (type != "ByteLevel") broken(files.path, "pre-tokenizer '" + type + "' is not supported");
  files.add_prefix_space = flag_at(step, "add_prefix_space", true);
  if (flag_at(step, "use_regex", true)) files.splits.push_back({kGpt2Split});
  return true;
}

AddedToken added_token(const json& from, int32_t id, const std::string& path) {
  AddedToken token;
  token.id = id;
  token.content = text_at(from, "content");
  if (token.content.empty()) broken(path, "added token " + std::to_string(id) + " has no content");
  token.single_word = flag_at(from, "single_word", false);
  token.lstrip = flag_at(from, "lstrip", false);
  token.rstrip = flag_at(from, "rstrip", false);
  token.normalized = flag_at(from, "normalized", false);
  token.special = flag_at(from, "special", false);
  return token;
}

// Adds a token unless its id or text is there already.
void add_token(TokenizerFiles& files, AddedToken token) {
  const auto same = [&](const AddedToken& t) {
    return t.id == token.id || t.content == token.content;
  };
  if (std::none_of(files.added.begin(), files.added.end(), same))
    files.added.push_back(std::move(token));
}

void read_decoder_table(const json& config, TokenizerFiles& files, const std::string& path) {
  const auto at = config.find("added_tokens_decoder");
  if (at == config.end() || !at->is_object()) return;
  for (const auto& [key, value] : at->items()) {
    const bool digits =
        !key.empty() && key.size() < 9 && key.find_first_not_of("0123456789") == std::string::npos;
    if (!digits || !value.is_object())
      broken(path, "added_tokens_decoder: entry '" + key + "' is broken");
    add_token(files, added_token(value, std::stoi(key), path));
  }
}

void read_roles(const json& config, TokenizerFiles& files) {
  for (const char* role : {"eos", "bos", "pad", "mask", "unk"}) {
    const auto at = config.find(std::string(role) + "_token");
    if (at == config.end() || files.roles.count(role) != 0) continue;
    if (at->is_string()) files.roles[role] = at->get<std::string>();
    if (at->is_object() && !text_at(*at, "content").empty())
      files.roles[role] = text_at(*at, "content");
  }
}

void read_tokenizer_json(const std::string& path, TokenizerFiles& files) {
  const json root = read_json(path);
  read_model(root.value("model", json()), files);
  read_normalizer(root.value("normalizer", json()), files);
  if (!root.contains("pre_tokenizer") || !read_pre_tokenizer(root["pre_tokenizer"], files))
    broken(path, "the pre-tokenizer is not byte-level");
  if (text_at(root.value("decoder", json::object()), "type") != "ByteLevel")
    broken(path, "the decoder is not ByteLevel");
  for (const json& token : root.value("added_tokens", json::array()))
    add_token(files,
              added_token(token, id_of(token.value("id", json()), path, "an added token"), path));
}

void read_vocab_and_merges(const std::string& dir, TokenizerFiles& files) {
  read_vocabulary(read_json(files.path), files);
  const std::string merges_path = dir + "/merges.txt";
  std::istringstream lines(read_file(merges_path));
  for (std::string line; std::getline(lines, line);) {
    if (!line.empty() && line.back() == '\r') line.pop_back();
    if (line.empty() || line.rfind("#version", 0) == 0) continue;
    add_merge_line(files, merges_path, line);
  }
  files.nfc = true;
  files.splits.push_back({kQwen2Split});
}

}  // namespace

TokenizerFiles read_tokenizer_files(const std::string& dir) {
  namespace fs = std::filesystem;
  TokenizerFiles files;
  const std::string main = dir + "/tokenizer.json", vocabulary = dir + "/vocab.json",
                    config_path = dir + "/tokenizer_config.json";
  const bool whole = fs::exists(main);
  if (!whole && !(fs::exists(vocabulary) && fs::exists(dir + "/merges.txt")))
    throw Error(DIFFULEX_E_IO, main + ": there is no such file, nor vocab.json with merges.txt")
        .with("path", main);
  files.path = whole ? main : vocabulary;
  if (whole) {
    read_tokenizer_json(main, files);
  } else {
    read_vocab_and_merges(dir, files);
  }
  const json config = read_optional(config_path);
  read_decoder_table(config, files, config_path);
  const json extra = read_optional(dir + "/added_tokens.json");
  for (const auto& [content, id] : extra.items()) {
    AddedToken token;
    token.id = id_of(id, dir + "/added_tokens.json", "token '" + content + "'");
    token.content = content;
    token.special = true;
    add_token(files, token);
  }
  read_roles(config, files);
  read_roles(read_optional(dir + "/special_tokens_map.json"), files);
  return files;
}

}  // namespace diffulex::text
