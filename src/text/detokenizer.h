// Turns one stream of tokens into text as it comes.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include "text/tokenizer.h"

namespace diffulex::text {

// A copy goes its own way from where it was taken. What all calls of push and the flush give, put
// together, is what Tokenizer::decode gives for all the tokens.
class Detokenizer {
 public:
  Detokenizer(std::shared_ptr<const Tokenizer> tokenizer, bool keep_special)
      : tokenizer_(std::move(tokenizer)), keep_special_(keep_special) {}

  // The text that is complete with these tokens. Bytes that may become a character are held back.
  // Errors: INVALID_ARGUMENT (an id out of range; nothing is taken then).
  std::string push(std::span<const int32_t> tokens);

  // What is held back, as U+FFFD, and starts over.
  std::string flush();

 private:
  std::shared_ptr<const Tokenizer> tokenizer_;
  bool keep_special_;
  std::string held_;  // the begin of a character
};

}  // namespace diffulex::text
