#include "text/chat.h"

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "io/json.h"

namespace diffulex::text {
namespace {

using nlohmann::json;

constexpr std::string_view kStart = "<|im_start|>";
constexpr std::string_view kEnd = "<|im_end|>";
constexpr std::string_view kThink = "<think>";

struct ChatOptions {
  bool add_generation_prompt = true;
  bool enable_thinking = true;
};

bool read_flag(const std::string& key, const json& value) {
  if (value.is_boolean()) return value.get<bool>();
  throw Error(DIFFULEX_E_INVALID_ARGUMENT, "chat option " + key + " must be true or false")
      .with("option", key);
}

JsonDocument parse_options(std::string_view options_json) {
  try {
    return parse_json_object(options_json, "options_json");
  } catch (const Error& error) {
    throw Error(DIFFULEX_E_INVALID_ARGUMENT,
                "options_json must be a JSON object: " + std::string(error.what()))
        .with("option", "options_json");
  }
}

ChatOptions read_options(std::string_view options_json) {
  ChatOptions options;
  if (options_json.empty()) return options;
  const JsonDocument document = parse_options(options_json);
  for (const auto& [key, value] : document.root().items()) {
    if (key == "add_generation_prompt") {
      options.add_generation_prompt = read_flag(key, value);
    } else if (key == "enable_thinking") {
      options.enable_thinking = read_flag(key, value);
    } else {
      throw Error(DIFFULEX_E_UNKNOWN_OPTION, "there is no chat option " + key)
          .with("option", key)
          .with("allowed", "add_generation_prompt, enable_thinking");
    }
  }
  return options;
}

void require_token(const Tokenizer& tokenizer, std::string_view token, std::string_view purpose) {
  if (tokenizer.added(token) >= 0) return;
  throw Error(DIFFULEX_E_UNSUPPORTED, "the tokenizer has no token " + std::string(token) +
                                          ", which " + std::string(purpose) + " needs");
}

}  // namespace

void check_messages(std::span<const Message> messages) {
  if (messages.empty()) {
    throw Error(DIFFULEX_E_INVALID_ARGUMENT, "messages is empty").with("option", "messages");
  }
  for (size_t i = 0; i < messages.size(); ++i) {
    if (messages[i].role.empty()) {
      throw Error(DIFFULEX_E_INVALID_ARGUMENT,
                  "messages.role is empty in message " + std::to_string(i))
          .with("option", "messages.role");
    }
  }
}

std::string render_chatml(const Tokenizer& tokenizer, std::span<const Message> messages,
                          std::string_view options_json) {
  const ChatOptions options = read_options(options_json);
  check_messages(messages);
  require_token(tokenizer, kStart, "ChatML");
  require_token(tokenizer, kEnd, "ChatML");
  if (!options.enable_thinking) require_token(tokenizer, kThink, "enable_thinking");
  std::string out;
  for (const Message& message : messages) {
    out.append(kStart).append(message.role).append("\n");
    out.append(message.content).append(kEnd).append("\n");
  }
  if (!options.add_generation_prompt) return out;
  out.append(kStart).append("assistant\n");
  if (!options.enable_thinking) out.append(kThink).append("\n\n</think>\n\n");
  return out;
}

}  // namespace diffulex::text
