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

// Renders with the checkpoint's own template, and as ChatML where it has none. Invalid UTF-8
// becomes U+FFFD. options_json: empty, or an object with the keys
//   add_generation_prompt  bool, default true: opens the assistant's turn
//   enable_thinking        bool; templates that know it think unless told otherwise
// and, for a template,
//   messages   list of objects, in place of `messages`, which then is empty
//   tools, documents  lists
//   variables  object: what else the template knows
//   template   the name of one of several templates
// Errors: INVALID_ARGUMENT (also what the template itself finds fault with), UNKNOWN_OPTION,
// UNSUPPORTED (the template uses what is not covered; ChatML: the tokenizer lacks a token),
// TOKENIZER (the template is malformed, or fails). Those of a template name path and line.
std::string render_chat(const Tokenizer& tokenizer, std::span<const Message> messages,
                        std::string_view options_json);

// Renders ChatML. Markers inside a content are written as they are. options_json: the first two
// keys above; enable_thinking false opens the assistant's turn with an empty thought. Errors:
// INVALID_ARGUMENT, UNKNOWN_OPTION, UNSUPPORTED (the tokenizer lacks a token).
std::string render_chatml(const Tokenizer& tokenizer, std::span<const Message> messages,
                          std::string_view options_json);

// Errors: INVALID_ARGUMENT (no messages, a message without a role).
void check_messages(std::span<const Message> messages);

}  // namespace diffulex::text
