#include "text/tokenizer.h"

#include <algorithm>
#include <bit>
#include <deque>
#include <limits>
#include <stdexcept>
#include <utility>

#include "base/error.h"
#include "io/path.h"
#include "text/byte_alphabet.h"
#include "text/utf8.h"

namespace diffulex::text {
namespace {

Error broken(const std::string& path, const std::string& problem) {
  return Error(DIFFULEX_E_TOKENIZER, file_name(path) + ": " + problem).with("path", path);
}

// Tokens by their text in the files, while a tokenizer is built.
using Vocab = std::unordered_map<std::string_view, int32_t>;

Vocab index_vocab(const TokenizerSpec& spec) {
  Vocab vocab;
  vocab.reserve(spec.vocab.size());
  for (const auto& [token, id] : spec.vocab) vocab.emplace(token, id);
  return vocab;
}

int32_t greatest_id(const TokenizerSpec& spec) {
  int32_t greatest = -1;
  for (const auto& entry : spec.vocab) greatest = std::max(greatest, entry.second);
  for (const AddedToken& token : spec.added) greatest = std::max(greatest, token.id);
  return greatest;
}

// Adds a token of the vocabulary that only a config names as special, so that text finds it as a
// whole.
void mark_special(const std::string& text, const Vocab& vocab, std::vector<AddedToken>& added) {
  const auto known = std::find_if(added.begin(), added.end(),
                                  [&](const AddedToken& token) { return token.content == text; });
  if (known != added.end()) {
    known->special = true;
    return;
  }
  const auto entry = vocab.find(text);
  if (entry == vocab.end() || text.empty()) return;
  AddedToken token;
  token.id = entry->second;
  token.content = text;
  token.special = true;
  added.push_back(std::move(token));
}

// The tokens of the spec with the special ones marked.
std::vector<AddedToken> added_tokens(const TokenizerSpec& spec) {
  const Vocab vocab = index_vocab(spec);
  std::vector<AddedToken> added = spec.added;
  for (const RoleSpec& role : spec.roles) {
    if (role.text) mark_special(*role.text, vocab, added);
    for (AddedToken& token : added) token.special |= !role.text && token.id == role.id;
  }
  for (const std::string& text : spec.special_texts) mark_special(text, vocab, added);
  return added;
}

void put_vocab(const TokenizerSpec& spec, std::vector<TokenTable::Entry>& entries) {
  const ByteAlphabet alphabet;
  for (const auto& [token, id] : spec.vocab) {
    TokenTable::Entry& entry = entries[static_cast<size_t>(id)];
    if (!entry.bytes.empty()) {
      throw broken(spec.vocab_path, "two tokens of the vocabulary have id " + std::to_string(id));
    }
    if (token.empty()) throw broken(spec.vocab_path, "the vocabulary has an empty token");
    entry.piece = alphabet.spells(token);
    entry.bytes = entry.piece ? alphabet.to_bytes(token) : token;
  }
}

void put_added(const TokenizerSpec& spec, const std::vector<AddedToken>& added,
               std::vector<TokenTable::Entry>& entries) {
  const Vocab vocab = index_vocab(spec);
  std::unordered_map<int32_t, std::string_view> contents;
  for (const AddedToken& token : added) {
    const std::string name = "added token \"" + token.content + "\"";
    const auto entry = vocab.find(token.content);
    if (entry != vocab.end() && entry->second != token.id) {
      throw broken(spec.vocab_path, name + " has another id in the vocabulary");
    }
    const bool taken =
        entry == vocab.end() && !entries[static_cast<size_t>(token.id)].bytes.empty();
    const auto [first, fresh] = contents.emplace(token.id, token.content);
    if ((taken && fresh) || (!fresh && first->second != token.content)) {
      throw broken(spec.vocab_path,
                   name + " has the id " + std::to_string(token.id) + " of another token");
    }
    TokenTable::Entry& written = entries[static_cast<size_t>(token.id)];
    written.special = token.special;
    if (written.piece) continue;  // is written as what it spells
    written.bytes = token.normalized && spec.nfc ? to_nfc(token.content) : token.content;
  }
}

std::vector<TokenTable::Entry> table_entries(const TokenizerSpec& spec) {
  std::vector<TokenTable::Entry> entries(static_cast<size_t>(greatest_id(spec)) + 1);
  put_vocab(spec, entries);
  put_added(spec, spec.added, entries);
  return entries;
}

std::array<int32_t, 256> byte_tokens(const TokenizerSpec& spec, const Vocab& vocab) {
  const ByteAlphabet alphabet;
  std::array<int32_t, 256> tokens{};
  for (size_t byte = 0; byte < tokens.size(); ++byte) {
    const auto entry = vocab.find(alphabet.spell(static_cast<uint8_t>(byte)));
    if (entry == vocab.end()) {
      throw broken(spec.vocab_path,
                   "the vocabulary lacks a token for byte " + std::to_string(byte));
    }
    tokens[byte] = entry->second;
  }
  return tokens;
}

int32_t merge_token(const TokenizerSpec& spec, const Vocab& vocab, size_t rank,
                    std::string_view token) {
  const auto entry = vocab.find(token);
  if (entry == vocab.end()) {
    throw broken(spec.merges_path, "merge " + std::to_string(rank) + " needs the token \"" +
                                       std::string(token) + "\", which is not in the vocabulary");
  }
  return entry->second;
}

Bpe make_bpe(const TokenizerSpec& spec, const TokenTable& tokens) {
  const Vocab vocab = index_vocab(spec);
  std::vector<Merge> merges;
  merges.reserve(spec.merges.size());
  for (size_t rank = 0; rank < spec.merges.size(); ++rank) {
    const auto& [left, right] = spec.merges[rank];
    merges.push_back({merge_token(spec, vocab, rank, left), merge_token(spec, vocab, rank, right),
                      merge_token(spec, vocab, rank, left + right), static_cast<int32_t>(rank)});
  }
  return Bpe(tokens, byte_tokens(spec, vocab), merges);
}

// The short tokens that come out when their text is a piece: nearly all of a vocabulary.
PieceTable make_whole_pieces(const TokenTable& tokens, const Bpe& bpe, bool ignore_merges) {
  PieceTable pieces(static_cast<size_t>(tokens.size()));
  std::vector<int32_t> merged;
  for (int32_t id = 0; id < tokens.size(); ++id) {
    const std::string_view bytes = tokens.bytes(id);
    if (!tokens.piece(id) || bytes.size() > PieceTable::kLongest || !is_valid_utf8(bytes)) continue;
    merged.clear();
    if (!ignore_merges) bpe.encode(bytes, merged);
    if (ignore_merges || (merged.size() == 1 && merged[0] == id)) pieces.add(bytes, id);
  }
  return pieces;
}

// Where one encoding put the tokens of the pieces it met last, by a hash of the piece: text repeats
// its words.
class PieceCache {
 public:
  struct Entry {
    std::string_view piece;
    size_t begin = 0, end = 0;  // of its tokens in the output
  };

  explicit PieceCache(size_t text_size)
      : entries_(std::bit_ceil(std::clamp<size_t>(text_size / 8, 1, kMaxEntries))) {}

  Entry& entry(std::string_view piece) {
    return entries_[std::hash<std::string_view>()(piece) & (entries_.size() - 1)];
  }

 private:
  static constexpr size_t kMaxEntries = 8192;
  std::vector<Entry> entries_;
};

constexpr size_t kLongestCached = 64;  // bytes of a piece

}  // namespace

// One call of encode.
class Tokenizer::Encoding {
 public:
  Encoding(const Tokenizer& tokenizer, std::string_view text, bool parse_special)
      : tokenizer_(tokenizer), text_(text), parse_special_(parse_special), cache_(text.size()) {}

  std::vector<int32_t> run() {
    out_.reserve(text_.size() / 4 + 1);
    std::vector<AddedTokenMatcher::Segment> segments;
    tokenizer_.raw_added_.split(text_, parse_special_, segments);
    for (const auto& segment : segments) {
      if (segment.token >= 0) {
        out_.push_back(segment.token);
      } else {
        encode_text(segment.text);
      }
    }
    return std::move(out_);
  }

 private:
  void encode_text(std::string_view text) {
    if (tokenizer_.nfc_ && !is_nfc_at_sight(text)) text = normalized_.emplace_back(to_nfc(text));
    std::vector<AddedTokenMatcher::Segment> segments;
    tokenizer_.normalized_added_.split(text, parse_special_, segments);
    for (const auto& segment : segments) {
      if (segment.token >= 0) {
        out_.push_back(segment.token);
      } else {
        encode_plain(segment.text);
      }
    }
  }

  void encode_plain(std::string_view text) {
    pieces_.push_back(tokenizer_.pre_tokenizer_.cut(text));
    for (const std::string_view piece : pieces_.back().views) encode_piece(piece);
    pieces_.back().views = {};  // the cache needs the text only
  }

  void encode_piece(std::string_view piece) {
    const int32_t whole = tokenizer_.whole_pieces_.find(piece);
    if (whole >= 0) {
      out_.push_back(whole);
      return;
    }
    if (piece.size() > kLongestCached) {
      merge(piece);
      return;
    }
    PieceCache::Entry& entry = cache_.entry(piece);
    if (entry.piece == piece) {
      for (size_t i = entry.begin; i < entry.end; ++i) out_.push_back(out_[i]);
      return;
    }
    const size_t begin = out_.size();
    merge(piece);
    entry = {piece, begin, out_.size()};
  }

  void merge(std::string_view piece) {
    const int32_t whole = tokenizer_.ignore_merges_ ? tokenizer_.tokens_.find_piece(piece) : -1;
    if (whole >= 0) {
      out_.push_back(whole);
    } else {
      tokenizer_.bpe_.encode(piece, out_);
    }
  }

  const Tokenizer& tokenizer_;
  std::string_view text_;
  bool parse_special_;
  PieceCache cache_;
  std::deque<std::string> normalized_;  // what pieces point into
  std::deque<Pieces> pieces_;
  std::vector<int32_t> out_;
};

std::shared_ptr<const Tokenizer> Tokenizer::load(const std::string& dir) {
  TokenizerSpec spec = read_tokenizer_spec(dir);
  spec.added = added_tokens(spec);
  return std::shared_ptr<const Tokenizer>(new Tokenizer(std::move(spec), ChatTemplates::load(dir)));
}

Tokenizer::Tokenizer(TokenizerSpec spec, ChatTemplates chat_templates)
    : nfc_(spec.nfc),
      ignore_merges_(spec.ignore_merges),
      tokens_(table_entries(spec)),
      bpe_(make_bpe(spec, tokens_)),
      whole_pieces_(make_whole_pieces(tokens_, bpe_, ignore_merges_)),
      pre_tokenizer_(std::move(spec.steps)),
      chat_templates_(std::move(chat_templates)) {
  for (const AddedToken& token : spec.added) {
    added_.emplace(token.content, token.id);
    const bool in_normal_form = token.normalized && nfc_;
    const std::string content = in_normal_form ? to_nfc(token.content) : token.content;
    (token.normalized ? normalized_added_ : raw_added_).add(content, token);
  }
  for (size_t role = 0; role < kRoleCount; ++role) roles_[role] = role_token(spec.roles[role]);
}

int32_t Tokenizer::role_token(const RoleSpec& role) const {
  if (!role.text) return tokens_.contains(role.id) ? role.id : -1;
  const int32_t id = added(*role.text);
  return id >= 0 ? id : tokens_.find(*role.text);
}

std::vector<int32_t> Tokenizer::encode(std::string_view text, bool parse_special) const {
  if (text.size() >= static_cast<size_t>(std::numeric_limits<int32_t>::max())) {
    throw Error(DIFFULEX_E_INVALID_ARGUMENT, "text must be shorter than 2 GiB")
        .with("option", "text");
  }
  std::string repaired;
  if (!is_valid_utf8(text)) {
    append_repaired(text, repaired);
    text = repaired;
  }
  try {
    return Encoding(*this, text, parse_special).run();
  } catch (const std::runtime_error& e) {
    throw Error(DIFFULEX_E_TOKENIZER,
                std::string("a split pattern of the tokenizer gave up: ") + e.what());
  }
}

std::string Tokenizer::decode(std::span<const int32_t> tokens, bool keep_special) const {
  std::string bytes;
  for (const int32_t id : tokens) append_bytes(id, keep_special, bytes);
  std::string out;
  append_repaired(bytes, out);
  return out;
}

void Tokenizer::append_bytes(int32_t id, bool keep_special, std::string& out) const {
  if (!tokens_.contains(id)) {
    throw Error(DIFFULEX_E_INVALID_ARGUMENT, "tokens holds id " + std::to_string(id) +
                                                 ", which is not in [0, " +
                                                 std::to_string(vocab_size()) + ")")
        .with("option", "tokens");
  }
  if (keep_special || !tokens_.special(id)) out += tokens_.bytes(id);
}

int32_t Tokenizer::special(std::string_view name) const {
  const auto role = std::find(kRoleNames.begin(), kRoleNames.end(), name);
  if (role != kRoleNames.end()) return roles_[static_cast<size_t>(role - kRoleNames.begin())];
  const int32_t id = added(name);
  return id >= 0 ? id : tokens_.find(name);
}

int32_t Tokenizer::added(std::string_view content) const {
  const auto found = added_.find(std::string(content));
  return found == added_.end() ? -1 : found->second;
}

}  // namespace diffulex::text
