// Conversations as prompts.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "text/tokenizer.h"

namespace diffulex::text {

struct Message {
  std::string_view role, content;
};

// Renders ChatML. Markers inside a content are written as they are. options_json: empty, or an
// object with the keys add_generation_prompt (default true: opens the assistant's turn) and
// enable_thinking (default true; false: opens that turn with an empty thought). Errors:
// INVALID_ARGUMENT, UNKNOWN_OPTION, UNSUPPORTED (the tokenizer lacks a token).
std::string render_chatml(const Tokenizer& tokenizer, std::span<const Message> messages,
                          std::string_view options_json);

}  // namespace diffulex::text
