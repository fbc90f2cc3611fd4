#include "text/tokenizer.h"

#include <utf8proc.h>

#include <algorithm>
#include <cstdlib>
#include <new>

#include "base/error.h"
#include "text/bpe.h"
#include "text/byte_alphabet.h"
#include "text/regex.h"
#include "text/tokenizer_files.h"
#include "text/utf8.h"

namespace diffulex::text {

struct Tokenizer::Impl {
  Bpe bpe;
  std::vector<std::string>
      bytes;                  // [vocab_size]: what a token stands for; added tokens: their text
  std::vector<bool> special;  // [vocab_size]
  std::vector<AddedToken> added;
  std::map<std::string, int32_t, std::less<>>
      ids;  // added tokens and spellings of the vocabulary by text
  std::map<std::string, int32_t, std::less<>> roles;
  std::vector<std::unique_ptr<Regex>> splits;
  bool nfc = false;
  bool add_prefix_space = false;

  std::string normalize(std::string_view text) const;
  void encode_words(std::string_view text, std::vector<int32_t>& out) const;
  void encode_plain(std::string_view text, bool parse_special, std::vector<int32_t>& out) const;
};

namespace {

void grow(std::vector<std::string>& bytes, int32_t id) {
  if (bytes.size() <= static_cast<size_t>(id)) bytes.resize(static_cast<size_t>(id) + 1);
}

}  // namespace

Tokenizer::Tokenizer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Tokenizer::~Tokenizer() = default;

std::shared_ptr<const Tokenizer> Tokenizer::load(const std::string& dir) {
  TokenizerFiles files = read_tokenizer_files(dir);
  auto impl = std::make_unique<Impl>();
  for (const auto& [spelling, id] : files.vocabulary) {
    grow(impl->bytes, id);
    const std::optional<std::string> bytes = bytes_of_spelling(spelling);
    impl->bytes[static_cast<size_t>(id)] = bytes.value_or(spelling);
    impl->ids.emplace(spelling, id);
    if (bytes) impl->bpe.add_token(*bytes, id);
  }
  for (size_t rank = 0; rank < files.merges.size(); ++rank) {
    const auto& [left, right] = files.merges[rank];
    impl->bpe.add_merge(files.vocabulary.at(left), files.vocabulary.at(right),
                        static_cast<int32_t>(rank), files.vocabulary.at(left + right));
  }
  impl->bpe.set_ignore_merges(files.ignore_merges);
  for (const AddedToken& token : files.added) {
    grow(impl->bytes, token.id);
    impl->bytes[static_cast<size_t>(token.id)] = token.content;
    impl->ids[token.content] = token.id;
  }
  impl->special.resize(impl->bytes.size());
  for (const AddedToken& token : files.added)
    impl->special[static_cast<size_t>(token.id)] = token.special;
  for (const auto& [role, content] : files.roles)
    if (const auto at = impl->ids.find(content); at != impl->ids.end())
      impl->roles[role] = at->second;
  try {
    for (const SplitStep& step : files.splits)
      impl->splits.push_back(std::make_unique<Regex>(step.pattern));
  } catch (const Error& error) {
    throw Error(DIFFULEX_E_TOKENIZER, files.path + ": " + error.message()).with("path", files.path);
  }
  impl->added = std::move(files.added);
  impl->nfc = files.nfc;
  impl->add_prefix_space = files.add_prefix_space;
  return std::shared_ptr<const Tokenizer>(new Tokenizer(std::move(impl)));
}

std::string Tokenizer::Impl::normalize(std::string_view text) const {
  const auto is_ascii = [](char c) { return static_cast<unsigned char>(c) < 0x80; };
  if (!nfc || std::all_of(text.begin(), text.end(), is_ascii)) return std::string(text);
  utf8proc_uint8_t* composed = nullptr;
  const utf8proc_ssize_t size =
      utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                   static_cast<utf8proc_ssize_t>(text.size()), &composed,
                   static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
  if (size == UTF8PROC_ERROR_NOMEM) throw std::bad_alloc();
  if (size < 0)
    throw Error(DIFFULEX_E_TOKENIZER,
                std::string("normalisation failed: ") + utf8proc_errmsg(size));
  std::string out(reinterpret_cast<const char*>(composed), static_cast<size_t>(size));
  std::free(composed);
  return out;
}

// Cuts normalised text into words, step by step, and merges each.
void Tokenizer::Impl::encode_words(std::string_view text, std::vector<int32_t>& out) const {
  std::vector<std::string_view> words = {text}, next;
  for (const auto& split : splits) {
    Regex::Matcher matcher(*split);
    next.clear();
    for (const std::string_view word : words) {
      size_t done = 0, begin = 0, end = 0;
      while (done < word.size() && matcher.find(word, done, &begin, &end)) {
        if (begin > done) next.push_back(word.substr(done, begin - done));
        if (end == begin) break;  // a pattern that matches nothing cuts nothing
        next.push_back(word.substr(begin, end - begin));
        done = end;
      }
      if (done < word.size()) next.push_back(word.substr(done));
    }
    words.swap(next);
  }
  for (const std::string_view word : words) bpe.encode(word, out);
}

void Tokenizer::Impl::encode_plain(std::string_view text, bool parse_special,
                                   std::vector<int32_t>& out) const {
  std::string normal = normalize(text);
  const auto wanted = [&](const AddedToken& t) {
    return t.normalized && (parse_special || !t.special);
  };
  for (const Piece& piece : split_at_tokens(normal, added, wanted)) {
    if (piece.token != nullptr) {
      out.push_back(piece.token->id);
    } else if (add_prefix_space && piece.text.front() != ' ') {
      encode_words(" " + std::string(piece.text), out);
    } else {
      encode_words(piece.text, out);
    }
  }
}

std::vector<int32_t> Tokenizer::encode(std::string_view text, bool parse_special) const {
  const std::string valid = to_valid_utf8(text);
  std::vector<int32_t> out;
  const auto wanted = [&](const AddedToken& t) {
    return !t.normalized && (parse_special || !t.special);
  };
  for (const Piece& piece : split_at_tokens(valid, impl_->added, wanted)) {
    if (piece.token != nullptr) {
      out.push_back(piece.token->id);
    } else {
      impl_->encode_plain(piece.text, parse_special, out);
    }
  }
  return out;
}

void Tokenizer::append_bytes(int32_t id, bool keep_special, std::string& out) const {
  if (id < 0 || id >= vocab_size())
    throw Error(DIFFULEX_E_INVALID_ARGUMENT, "token id " + std::to_string(id) + " is not in [0, " +
                                                 std::to_string(vocab_size()) + ")")
        .with("option", "tokens");
  if (keep_special || !impl_->special[static_cast<size_t>(id)])
    out += impl_->bytes[static_cast<size_t>(id)];
}

std::string Tokenizer::decode(std::span<const int32_t> ids, bool keep_special) const {
  std::string bytes;
  for (const int32_t id : ids) append_bytes(id, keep_special, bytes);
  return to_valid_utf8(bytes);
}

int32_t Tokenizer::vocab_size() const { return static_cast<int32_t>(impl_->bytes.size()); }

int32_t Tokenizer::special(std::string_view name) const {
  if (const auto role = impl_->roles.find(name); role != impl_->roles.end()) return role->second;
  const auto at = impl_->ids.find(name);
  return at == impl_->ids.end() ? -1 : at->second;
}

bool Tokenizer::is_special(int32_t id) const {
  return id >= 0 && id < vocab_size() && impl_->special[static_cast<size_t>(id)];
}

}  // namespace diffulex::text
