// Conversations as prompts.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "text/tokenizer.h"

namespace diffulex::text {

struct Message {
  std::string_view role;
  std::string_view content;
};

// ChatML. options_json: empty or an object with add_generation_prompt (default true) and
// enable_thinking (false closes an empty think section). Throws Error: INVALID_ARGUMENT,
// UNKNOWN_OPTION, UNSUPPORTED.
std::string render_chatml(const Tokenizer& tokenizer, std::span<const Message> messages,
                          std::string_view options_json);

}  // namespace diffulex::text
