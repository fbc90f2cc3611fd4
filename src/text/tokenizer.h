// A byte-level BPE tokenizer, read from tokenizer.json (or vocab.json and merges.txt).
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace diffulex::text {

// Immutable after load: every const function may run on many threads at once.
class Tokenizer {
 public:
  // Throws Error: DIFFULEX_E_IO (no tokenizer file), DIFFULEX_E_TOKENIZER naming the file and the
  // key.
  static std::shared_ptr<const Tokenizer> load(const std::string& dir);
  ~Tokenizer();
  Tokenizer(const Tokenizer&) = delete;
  Tokenizer& operator=(const Tokenizer&) = delete;

  // parse_special: the text of special tokens becomes those tokens. Invalid UTF-8 is read as
  // U+FFFD.
  std::vector<int32_t> encode(std::string_view text, bool parse_special) const;
  // Throws Error(DIFFULEX_E_INVALID_ARGUMENT) for ids out of range. Incomplete UTF-8 is written as
  // U+FFFD.
  std::string decode(std::span<const int32_t> ids, bool keep_special) const;
  // Appends the bytes of one token; special ones only with keep_special. Throws as decode.
  void append_bytes(int32_t id, bool keep_special, std::string& out) const;

  int32_t vocab_size() const;                    // highest id + 1, added tokens included
  int32_t special(std::string_view name) const;  // by role (eos, bos, pad, mask) or text; -1 = none
  bool is_special(int32_t id) const;

 private:
  struct Impl;
  explicit Tokenizer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace diffulex::text
