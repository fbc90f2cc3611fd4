// Decodes one token stream piece by piece, in whole characters.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "text/tokenizer.h"

namespace diffulex::text {

// Copyable, so that a push can be tried. One thread at a time.
class Detokenizer {
 public:
  Detokenizer(std::shared_ptr<const Tokenizer> tokenizer, bool keep_special)
      : tokenizer_(std::move(tokenizer)), keep_special_(keep_special) {}

  // The text that is complete with these tokens. What cannot become a character any more is U+FFFD
  // at once.
  std::string push(std::span<const int32_t> ids);
  // The rest, an unfinished character as U+FFFD; starts over.
  std::string flush();

 private:
  std::shared_ptr<const Tokenizer> tokenizer_;
  bool keep_special_;
  std::string held_;  // bytes of an unfinished character, at most 3
};

}  // namespace diffulex::text
