// The chat templates that a checkpoint brings.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"
#include "text/jinja/template.h"

namespace diffulex::text {

// Immutable: safe to use from several threads at once.
class ChatTemplates {
 public:
  using Token = std::pair<std::string, std::string>;  // "eos_token", its text

  // Reads chat_template.jinja and what lies in additional_chat_templates, else the entry
  // chat_template of tokenizer_config.json, else that of chat_template.json. A template that is
  // malformed is an error only when it is asked for. Errors: IO, TOKENIZER (another file is
  // broken).
  static ChatTemplates load(const std::string& dir);

  bool empty() const { return entries_.empty(); }

  // The template of that name; without one "tool_use" where there are tools, else "default".
  // Errors: INVALID_ARGUMENT (no such template); TOKENIZER, UNSUPPORTED (as of jinja::Template).
  const jinja::Template& choose(std::string_view name, bool with_tools) const;

  // By the names under which templates know them.
  const std::vector<Token>& special_tokens() const { return special_tokens_; }

 private:
  class Reader;
  struct Entry {
    std::string name;
    std::shared_ptr<const jinja::Template> parsed;
    std::optional<Error> problem;  // where it could not be parsed
  };

  const Entry* find(std::string_view name) const;
  std::string names() const;

  std::vector<Entry> entries_;
  std::vector<Token> special_tokens_;
};

}  // namespace diffulex::text
