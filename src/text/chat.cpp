#include "text/chat.h"

#include <nlohmann/json.hpp>

#include "base/error.h"

namespace diffulex::text {
namespace {

struct Options {
  bool add_generation_prompt = true;
  bool enable_thinking = true;
};

Options parse(std::string_view text) {
  Options options;
  if (text.empty()) return options;
  const auto json = nlohmann::json::parse(text, nullptr, false);
  if (!json.is_object())
    throw Error(DIFFULEX_E_INVALID_ARGUMENT, "options_json is not a JSON object")
        .with("option", "options_json");
  for (const auto& [key, value] : json.items()) {
    bool* const target = key == "add_generation_prompt" ? &options.add_generation_prompt
                         : key == "enable_thinking"     ? &options.enable_thinking
                                                        : nullptr;
    if (target == nullptr)
      throw Error(DIFFULEX_E_UNKNOWN_OPTION, "unknown chat option '" + key + "'")
          .with("option", key)
          .with("allowed", "add_generation_prompt, enable_thinking");
    if (!value.is_boolean())
      throw Error(DIFFULEX_E_INVALID_ARGUMENT, "chat option '" + key + "' must be true or false")
          .with("option", key);
    *target = value.get<bool>();
  }
  return options;
}

}  // namespace

std::string render_chatml(const Tokenizer& tokenizer, std::span<const Message> messages,
                          std::string_view options_json) {
  const Options options = parse(options_json);
  if (tokenizer.special("<|im_start|>") < 0 || tokenizer.special("<|im_end|>") < 0)
    throw Error(DIFFULEX_E_UNSUPPORTED,
                "the tokenizer has no <|im_start|> and <|im_end|>: it does not speak ChatML");
  if (messages.empty())
    throw Error(DIFFULEX_E_INVALID_ARGUMENT, "the conversation is empty")
        .with("option", "messages");
  if (!options.enable_thinking && tokenizer.special("<think>") < 0)
    throw Error(DIFFULEX_E_UNSUPPORTED,
                "the tokenizer has no <think>: enable_thinking cannot be false")
        .with("option", "enable_thinking");
  std::string out;
  for (const Message& message : messages) {
    if (message.role.empty())
      throw Error(DIFFULEX_E_INVALID_ARGUMENT, "a message has no role").with("option", "messages");
    out.append("<|im_start|>")
        .append(message.role)
        .append("\n")
        .append(message.content)
        .append("<|im_end|>\n");
  }
  if (options.add_generation_prompt) out += "<|im_start|>assistant\n";
  if (options.add_generation_prompt && !options.enable_thinking) out += "<think>\n\n</think>\n\n";
  return out;
}

}  // namespace diffulex::text
