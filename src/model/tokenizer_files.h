// What the tokenizer's files say about ids. Text is not tokenized here.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

namespace diffulex {

class TokenizerFiles {
 public:
  // Reads what is there of tokenizer.json (else vocab.json), added_tokens.json,
  // tokenizer_config.json and special_tokens_map.json. Throws Error(DIFFULEX_E_TOKENIZER) for
  // malformed files.
  static TokenizerFiles read(const std::string& dir);

  // By added_tokens.json, then tokenizer_config.json, then the tokenizer's own tables.
  std::optional<int> id_of(std::string_view text) const;

  // The text of a special token, e.g. "mask_token"; empty when the file does not name one.
  std::string special_in_map(const std::string& key) const;     // special_tokens_map.json
  std::string special_in_config(const std::string& key) const;  // tokenizer_config.json

  // Largest known id + 1; 0 when no file holds a vocabulary.
  int token_count() const { return has_vocabulary_ ? max_id_ + 1 : 0; }

 private:
  class Reader;
  using IdTable = std::unordered_map<std::string, int>;
  using TextTable = std::unordered_map<std::string, std::string>;

  IdTable added_;       // added_tokens.json
  IdTable decoder_;     // added_tokens_decoder of tokenizer_config.json
  IdTable own_added_;   // added_tokens of tokenizer.json
  IdTable vocabulary_;  // tokenizer.json or vocab.json
  TextTable map_specials_;
  TextTable config_specials_;
  bool has_vocabulary_ = false;
  int max_id_ = -1;
};

}  // namespace diffulex
