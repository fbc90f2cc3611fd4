#include "text/tokenizer.h"

#include <algorithm>
#include <bit>
#include <deque>
#include <limits>
#include <stdexcept>
#include <utility>

#include "base/error.h"
#include "text/tokenizer_parts.h"
#include "text/utf8.h"

namespace diffulex::text {
namespace {

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
