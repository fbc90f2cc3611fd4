// A byte-level BPE tokenizer as model directories carry it.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "text/added_tokens.h"
#include "text/bpe.h"
#include "text/chat_templates.h"
#include "text/piece_table.h"
#include "text/pre_tokenizer.h"
#include "text/token_table.h"
#include "text/tokenizer_spec.h"

namespace diffulex::text {

// Immutable: all functions are safe to call from several threads at once.
class Tokenizer {
 public:
  // Reads tokenizer.json of the directory, or vocab.json and merges.txt (then of the Qwen2 kind),
  // and the config files and chat templates beside it. Tokens that a config names for a role or as
  // additional special tokens are special whatever their flags say. The post-processor is not
  // applied: prompts are rendered with all their tokens. Errors: IO, TOKENIZER.
  static std::shared_ptr<const Tokenizer> load(const std::string& dir);

  // Takes invalid UTF-8 as U+FFFD. The text of an added token becomes that token, that of a special
  // one only with parse_special. Errors: INVALID_ARGUMENT (2 GiB of text or more), TOKENIZER (a
  // pattern needs too much time or memory).
  std::vector<int32_t> encode(std::string_view text, bool parse_special) const;

  // Incomplete UTF-8 becomes U+FFFD. Errors: INVALID_ARGUMENT (an id out of range).
  std::string decode(std::span<const int32_t> tokens, bool keep_special) const;

  // Appends the bytes of one token, which may be part of a character; none for a special token
  // unless keep_special. Errors: INVALID_ARGUMENT.
  void append_bytes(int32_t id, bool keep_special, std::string& out) const;

  int32_t vocab_size() const { return tokens_.size(); }

  // The token of a role ("eos", "bos", "pad", "mask") or of a text ("<|im_end|>"); -1: none.
  int32_t special(std::string_view name) const;

  // The added token of this text, which encode can yield for it as a whole; -1: none.
  int32_t added(std::string_view content) const;

  // Empty: the directory has none.
  const ChatTemplates& chat_templates() const { return chat_templates_; }

  bool is_special(int32_t id) const { return tokens_.contains(id) && tokens_.special(id); }

 private:
  class Encoding;  // one call of encode

  Tokenizer(TokenizerSpec spec, ChatTemplates chat_templates);

  int32_t role_token(const RoleSpec& role) const;

  bool nfc_;
  bool ignore_merges_;
  std::unordered_map<std::string, int32_t> added_;
  TokenTable tokens_;
  Bpe bpe_;
  PieceTable whole_pieces_;  // pieces that become one token, short ones
  PreTokenizer pre_tokenizer_;
  AddedTokenMatcher raw_added_, normalized_added_;  // in the text as it is, and normalised
  std::array<int32_t, kRoleCount> roles_{};
  ChatTemplates chat_templates_;
};

}  // namespace diffulex::text
