#include "model/tokenizer_files.h"

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/error.h"
#include "io/json.h"
#include "io/path.h"

namespace diffulex {
namespace {

using nlohmann::json;

constexpr uint64_t kMaxTokenId = 1 << 24;

// Repeated keys are left to the tokenizer, which must live with what is published.
constexpr JsonRules kRules = {.status = DIFFULEX_E_TOKENIZER, .unique_keys = false};

const json* member(const json& object, const char* key) {
  const auto found = object.find(key);
  return found == object.end() || found->is_null() ? nullptr : &*found;
}

// A special token is written as its text or as an object that holds it.
std::string token_text(const json& token) {
  if (token.is_string()) return token.get<std::string>();
  if (!token.is_object()) return {};
  const json* content = member(token, "content");
  return content != nullptr && content->is_string() ? content->get<std::string>() : std::string();
}

}  // namespace

// Fills the tables from one file after the other.
class TokenizerFiles::Reader {
 public:
  Reader(const std::string& dir, TokenizerFiles* files) : dir_(dir), files_(*files) {}

  void read() {
    if (open("added_tokens.json")) read_ids(document_.root(), &files_.added_);
    if (open("tokenizer_config.json")) {
      read_specials(&files_.config_specials_);
      read_decoder();
    }
    if (open("special_tokens_map.json")) read_specials(&files_.map_specials_);
    if (open("tokenizer.json")) {
      read_tokenizer();
    } else if (open("vocab.json")) {
      files_.has_vocabulary_ = true;
      read_ids(document_.root(), &files_.vocabulary_);
    }
  }

 private:
  bool open(const char* name) {
    path_ = join_path(dir_, name);
    if (!file_exists(path_)) return false;
    document_ = read_json_object(path_, kRules);
    return true;
  }

  [[noreturn]] void refuse(const std::string& what) const {
    throw Error(DIFFULEX_E_TOKENIZER, file_name(path_) + ": " + what).with("path", path_);
  }

  int checked_id(const json& id, const std::string& text) const {
    if (!id.is_number_unsigned() || id.get<uint64_t>() > kMaxTokenId) {
      refuse("token '" + text + "' has no valid id");
    }
    return id.get<int>();
  }

  void note(const std::string& text, int id, IdTable* table) {
    files_.max_id_ = std::max(files_.max_id_, id);
    table->emplace(text, id);
  }

  void read_ids(const json& object, IdTable* table) {
    for (const auto& [text, id] : object.items()) note(text, checked_id(id, text), table);
  }

  void read_specials(TextTable* table) {
    for (const auto& [key, token] : document_.root().items()) {
      if (key.ends_with("_token")) table->emplace(key, token_text(token));
    }
  }

  void read_decoder() {
    const json* decoder = member(document_.root(), "added_tokens_decoder");
    if (decoder == nullptr) return;
    if (!decoder->is_object()) refuse("'added_tokens_decoder' is not an object");
    for (const auto& [key, token] : decoder->items()) {
      int id = -1;
      const char* end = key.data() + key.size();
      const auto parsed = std::from_chars(key.data(), end, id);
      if (parsed.ec != std::errc() || parsed.ptr != end || id < 0 ||
          static_cast<uint64_t>(id) > kMaxTokenId) {
        refuse("'added_tokens_decoder' holds '" + key + "', which is not a token id");
      }
      note(token_text(token), id, &files_.decoder_);
    }
  }

  void read_tokenizer() {
    const json* model = member(document_.root(), "model");
    const json* vocabulary =
        model != nullptr && model->is_object() ? member(*model, "vocab") : nullptr;
    if (vocabulary == nullptr || !vocabulary->is_structured()) refuse("there is no 'model.vocab'");
    files_.has_vocabulary_ = true;
    if (vocabulary->is_object()) {
      read_ids(*vocabulary, &files_.vocabulary_);
    } else {
      read_pieces(*vocabulary);
    }
    read_own_added();
  }

  // A unigram vocabulary: [text, score] pairs in the order of their ids.
  void read_pieces(const json& pieces) {
    int id = 0;
    for (const json& piece : pieces) {
      const bool sound = piece.is_array() && !piece.empty() && piece[0].is_string();
      if (!sound) refuse("entry " + std::to_string(id) + " of 'model.vocab' has no text");
      note(piece[0].get_ref<const std::string&>(), id++, &files_.vocabulary_);
    }
  }

  void read_own_added() {
    const json* tokens = member(document_.root(), "added_tokens");
    if (tokens == nullptr) return;
    if (!tokens->is_array()) refuse("'added_tokens' is not a list");
    for (const json& token : *tokens) {
      const std::string text = token_text(token);
      const json* id = token.is_object() ? member(token, "id") : nullptr;
      if (id == nullptr) refuse("token '" + text + "' has no valid id");
      note(text, checked_id(*id, text), &files_.own_added_);
    }
  }

  const std::string& dir_;
  TokenizerFiles& files_;
  std::string path_;  // of document_
  JsonDocument document_;
};

TokenizerFiles TokenizerFiles::read(const std::string& dir) {
  TokenizerFiles files;
  Reader(dir, &files).read();
  return files;
}

std::optional<int> TokenizerFiles::id_of(std::string_view text) const {
  if (text.empty()) return std::nullopt;
  const std::string key(text);
  for (const IdTable* table : {&added_, &decoder_, &own_added_, &vocabulary_}) {
    const auto found = table->find(key);
    if (found != table->end()) return found->second;
  }
  return std::nullopt;
}

std::string TokenizerFiles::special_in_map(const std::string& key) const {
  const auto found = map_specials_.find(key);
  return found == map_specials_.end() ? std::string() : found->second;
}

std::string TokenizerFiles::special_in_config(const std::string& key) const {
  const auto found = config_specials_.find(key);
  return found == config_specials_.end() ? std::string() : found->second;
}

}  // namespace diffulex
