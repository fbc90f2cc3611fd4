#include "text/tokenizer_parts.h"

#include <algorithm>
#include <string>
#include <string_view>
#include <unordered_map>
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

}  // namespace

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

std::vector<TokenTable::Entry> table_entries(const TokenizerSpec& spec) {
  std::vector<TokenTable::Entry> entries(static_cast<size_t>(greatest_id(spec)) + 1);
  put_vocab(spec, entries);
  put_added(spec, spec.added, entries);
  return entries;
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

}  // namespace diffulex::text
