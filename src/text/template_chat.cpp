// Conversations by the checkpoint's own template.
#include <algorithm>
#include <array>
#include <ctime>

#include "base/error.h"
#include "text/chat.h"
#include "text/jinja/dict.h"
#include "text/jinja/failure.h"
#include "text/jinja/from_json.h"
#include "text/utf8.h"

namespace diffulex::text {
namespace {

using jinja::Dict;
using jinja::Kind;
using jinja::Value;

constexpr std::array<std::string_view, 7> kOptions = {"add_generation_prompt",
                                                      "enable_thinking",
                                                      "messages",
                                                      "tools",
                                                      "documents",
                                                      "variables",
                                                      "template"};

[[noreturn]] void wrong(std::string_view option, const std::string& problem) {
  throw Error(DIFFULEX_E_INVALID_ARGUMENT, "chat option " + std::string(option) + " " + problem)
      .with("option", std::string(option));
}

[[noreturn]] void unknown(const std::string& option) {
  std::string allowed;
  for (const std::string_view name : kOptions)
    allowed += (allowed.empty() ? "" : ", ") + std::string(name);
  throw Error(DIFFULEX_E_UNKNOWN_OPTION, "there is no chat option " + option)
      .with("option", option)
      .with("allowed", allowed);
}

// The options of one conversation, as the caller wrote them.
class Options {
 public:
  Options(jinja::Budget& budget, std::string_view text) : root_(read(budget, text)) {
    for (const auto& [key, value] : root_.dict().entries())
      if (std::find(kOptions.begin(), kOptions.end(), key.text()) == kOptions.end())
        unknown(key.text());
  }

  // Null: not given.
  const Value* flag(std::string_view name) const {
    const Value* value = root_.dict().find(name);
    if (value != nullptr && !value->is(Kind::kBool)) wrong(name, "must be true or false");
    return value;
  }

  const Value* list(std::string_view name) const { return of_kind(name, Kind::kList, "a list"); }
  const Value* dict(std::string_view name) const { return of_kind(name, Kind::kDict, "an object"); }
  const Value* text(std::string_view name) const {
    return of_kind(name, Kind::kString, "a string");
  }

 private:
  static Value read(jinja::Budget& budget, std::string_view text) {
    std::string problem;
    try {
      Value root = jinja::from_json(budget, text.empty() ? "{}" : text);
      if (root.is(Kind::kDict)) return root;
    } catch (const jinja::Failure& failure) {
      problem = std::string(": ") + failure.what();
    }
    throw Error(DIFFULEX_E_INVALID_ARGUMENT, "options_json must be a JSON object" + problem)
        .with("option", "options_json");
  }

  // null is as good as nothing.
  const Value* of_kind(std::string_view name, Kind kind, const char* wanted) const {
    const Value* value = root_.dict().find(name);
    if (value == nullptr || value->is(Kind::kNone)) return nullptr;
    if (!value->is(kind)) wrong(name, std::string("must be ") + wanted);
    return value;
  }

  Value root_;
};

Value repaired(jinja::Budget& budget, std::string_view text) {
  std::string out;
  append_repaired(text, out);
  return Value::string(budget, std::move(out));
}

Value listed(jinja::Budget& budget, std::span<const Message> messages) {
  jinja::Values list;
  for (const Message& message : messages) {
    Dict entry;
    entry.set(budget, Value::string(budget, "role"), repaired(budget, message.role));
    entry.set(budget, Value::string(budget, "content"), repaired(budget, message.content));
    list.push_back(Value::dict(std::move(entry)));
  }
  return Value::list(budget, std::move(list));
}

Value conversation(jinja::Budget& budget, std::span<const Message> messages, const Value* own) {
  if (own == nullptr) {
    check_messages(messages);
    return listed(budget, messages);
  }
  if (!messages.empty()) wrong("messages", "is given twice");
  if (own->items().empty()) wrong("messages", "is empty");
  for (const Value& message : own->items())
    if (!message.is(Kind::kDict)) wrong("messages", "must be a list of objects");
  return *own;
}

// What a template sees, a later variable in place of an earlier one.
class Variables {
 public:
  explicit Variables(jinja::Budget& budget) : budget_(budget) {}

  void set(std::string_view name, Value value) {
    dict_.set(budget_, Value::string(budget_, std::string(name)), std::move(value));
  }
  void set_unless_null(std::string_view name, const Value* value) {
    if (value != nullptr) set(name, *value);
  }
  const Dict& dict() const { return dict_; }

 private:
  jinja::Budget& budget_;
  Dict dict_;
};

}  // namespace

std::string render_chat(const Tokenizer& tokenizer, std::span<const Message> messages,
                        std::string_view options_json) {
  const ChatTemplates& templates = tokenizer.chat_templates();
  if (templates.empty()) return render_chatml(tokenizer, messages, options_json);
  jinja::Budget budget{jinja::Limits{}};
  const Options options(budget, options_json);
  Variables variables(budget);
  for (const auto& [name, text] : templates.special_tokens())
    variables.set(name, repaired(budget, text));
  if (const Value* own = options.dict("variables"); own != nullptr)
    for (const auto& [name, value] : own->dict().entries()) variables.set(name.text(), value);
  const Value *tools = options.list("tools"), *documents = options.list("documents");
  const Value* prompt = options.flag("add_generation_prompt");
  variables.set("messages", conversation(budget, messages, options.list("messages")));
  variables.set("tools", tools != nullptr ? *tools : Value());
  variables.set("documents", documents != nullptr ? *documents : Value());
  variables.set("add_generation_prompt", prompt != nullptr ? *prompt : Value::boolean(true));
  variables.set_unless_null("enable_thinking", options.flag("enable_thinking"));
  const Value* name = options.text("template");
  return templates.choose(name != nullptr ? name->text() : "", tools != nullptr)
      .render(variables.dict(), std::time(nullptr));
}

}  // namespace diffulex::text
