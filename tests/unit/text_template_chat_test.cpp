// Conversations by the templates that lie beside a tokenizer.
#include <gtest/gtest.h>

#include "expect_error.h"
#include "text/chat.h"
#include "text_files.h"

namespace diffulex::text {
namespace {

using diffulex::testing::detail;
using diffulex::testing::expect_error;
using nlohmann::json;

// A directory of a tokenizer with these files.
std::shared_ptr<const Tokenizer> load(
    const std::vector<std::pair<std::string, std::string>>& files) {
  const TempDir dir;
  dir.write("tokenizer.json", plain_tokenizer());
  std::filesystem::create_directory(dir.file("additional_chat_templates"));
  for (const auto& [name, content] : files) dir.write(name, content);
  return Tokenizer::load(dir.path());
}

std::shared_ptr<const Tokenizer> with_template(const std::string& source) {
  return load({{"chat_template.jinja", source}});
}

std::string config(const json& chat_template) {
  return json{{"chat_template", chat_template}}.dump();
}

std::string render(const std::string& source, const std::string& options,
                   const std::vector<Message>& messages = {{"user", "Hi"}}) {
  return render_chat(*with_template(source), messages, options);
}

const std::vector<Message> kHi = {{"user", "Hi"}};

TEST(TextTemplateChat, WhereTemplatesLie) {
  const std::string in_config = config("config");
  EXPECT_EQ(render_chat(*load({{"tokenizer_config.json", in_config}}), kHi, ""), "config");
  EXPECT_EQ(render_chat(*load({{"chat_template.json", config("json")}}), kHi, ""), "json");
  EXPECT_EQ(render_chat(*load({{"chat_template.json", config("json")},
                               {"tokenizer_config.json", in_config}}),
                        kHi, ""),
            "config");
  EXPECT_EQ(render_chat(*load({{"chat_template.jinja", "file\n"},
                               {"chat_template.json", config("json")},
                               {"tokenizer_config.json", in_config}}),
                        kHi, ""),
            "file");
}

TEST(TextTemplateChat, SeveralTemplates) {
  const json list = {{{"name", "default"}, {"template", "D"}},
                     {{"name", "tool_use"}, {"template", "T{{ tools|length }}"}},
                     {{"name", "rag"}, {"template", "R"}}};
  const auto t = load({{"tokenizer_config.json", config(list)}});
  EXPECT_EQ(render_chat(*t, kHi, ""), "D");
  EXPECT_EQ(render_chat(*t, kHi, R"({"tools": null})"), "D");
  EXPECT_EQ(render_chat(*t, kHi, R"({"tools": [{}, {}]})"), "T2");
  EXPECT_EQ(render_chat(*t, kHi, R"({"tools": [], "template": "rag"})"), "R");
  const Error error = expect_error(DIFFULEX_E_INVALID_ARGUMENT, {"nosuch"},
                                   [&] { render_chat(*t, kHi, R"({"template": "nosuch"})"); });
  EXPECT_EQ(detail(error, "option"), "template");
  EXPECT_EQ(detail(error, "allowed"), "default, tool_use, rag");
  const auto named = load({{"additional_chat_templates/rag.jinja", "A"}});
  EXPECT_EQ(render_chat(*named, kHi, R"({"template": "rag"})"), "A");
  expect_error(DIFFULEX_E_INVALID_ARGUMENT, {"default"}, [&] { render_chat(*named, kHi, ""); });
}

TEST(TextTemplateChat, WithoutATemplateItIsChatMl) {
  EXPECT_TRUE(load_json(plain_tokenizer())->chat_templates().empty());
  const auto t = load_json(read_json(kTinyDir + "/tokenizer.json"));
  EXPECT_EQ(render_chat(*t, kHi, ""), render_chatml(*t, kHi, ""));
  expect_error(DIFFULEX_E_UNKNOWN_OPTION, {"tools"},
               [&] { render_chat(*t, kHi, R"({"tools": []})"); });
  const auto null = load({{"tokenizer_config.json", config(nullptr)}});
  EXPECT_TRUE(null->chat_templates().empty());
}

TEST(TextTemplateChat, TheModelOfTheRepository) {
  const std::vector<Message> messages = {{"system", "Be brief."}, {"user", "Hi\n"}};
  for (const char* options : {"", R"({"add_generation_prompt": false})"})
    EXPECT_EQ(render_chat(*tiny(), messages, options), render_chatml(*tiny(), messages, options));
}

TEST(TextTemplateChat, Variables) {
  EXPECT_EQ(render("{{ [messages, tools, documents, add_generation_prompt] }}"
                   "{{ enable_thinking is defined }}",
                   ""),
            "[[{'role': 'user', 'content': 'Hi'}], None, None, True]False");
  EXPECT_EQ(render("{{ add_generation_prompt }}{{ enable_thinking }}{{ tools|tojson }}"
                   "{{ documents[0].t }}{{ date_string }}{{ depth + 1 }}",
                   R"({"add_generation_prompt": false, "enable_thinking": false,
                       "tools": [{"z": 1, "a": "é"}], "documents": [{"t": "d"}],
                       "variables": {"date_string": "today", "depth": 1}})"),
            "FalseFalse[{\"z\": 1, \"a\": \"é\"}]dtoday2");
  EXPECT_EQ(render("{{ messages }}", R"({"variables": {"messages": 1}})"),
            "[{'role': 'user', 'content': 'Hi'}]");
}

TEST(TextTemplateChat, MessagesAsJson) {
  const std::string options =
      R"({"messages": [{"role": "assistant", "content": null, "tool_calls": [{"b": 1, "a": 2}]}]})";
  EXPECT_EQ(render("{{ messages[0] }}", options, {}),
            "{'role': 'assistant', 'content': None, 'tool_calls': [{'b': 1, 'a': 2}]}");
  expect_error(DIFFULEX_E_INVALID_ARGUMENT, {"messages", "twice"}, [&] { render("", options); });
}

TEST(TextTemplateChat, SpecialTokens) {
  const auto t =
      load({{"chat_template.jinja",
             "{{ bos_token }}|{{ eos_token }}|{{ pad_token is defined }}|"
             "{{ image_token }}|{{ add_bos_token is defined }}|{{ x_token }}"},
            {"tokenizer_config.json", json{{"bos_token", "<s>"},
                                           {"eos_token", {{"content", "</s>"}}},
                                           {"pad_token", nullptr},
                                           {"add_bos_token", true},
                                           {"extra_special_tokens", {{"image_token", "<img>"}}}}
                                          .dump()},
            {"special_tokens_map.json",
             json{{"bos_token", "no"}, {"pad_token", "no"}, {"x_token", "<x>"}}.dump()}});
  EXPECT_EQ(render_chat(*t, kHi, ""), "<s>|</s>|False|<img>|False|<x>");
  EXPECT_EQ(render_chat(*t, kHi, R"({"variables": {"bos_token": "own"}})").substr(0, 4), "own|");
}

TEST(TextTemplateChat, InvalidUtf8IsRepaired) {
  EXPECT_EQ(render("{{ messages[0].content }}", "", {{"user", "a\xFF"}}), "a\uFFFD");
}

TEST(TextTemplateChat, BadOptions) {
  const auto fails = [](diffulex_status status, const std::string& options,
                        const std::string& option) {
    const Error error = expect_error(status, {option}, [&] { render("a", options); });
    EXPECT_EQ(detail(error, "option"), option);
  };
  for (const char* options : {"[]", "null", "1", "{", "{}{}", "\xFF", R"({"a": 1, "a": 1})"})
    fails(DIFFULEX_E_INVALID_ARGUMENT, options, "options_json");
  for (const char* name : {"add_generation_prompt", "enable_thinking", "messages", "tools",
                           "documents", "variables", "template"})
    fails(DIFFULEX_E_INVALID_ARGUMENT, std::string("{\"") + name + "\": 1}", name);
  for (const char* messages : {"[]", "[1]", "[[]]"})
    expect_error(DIFFULEX_E_INVALID_ARGUMENT, {"messages"},
                 [&] { render("a", std::string("{\"messages\": ") + messages + "}", {}); });
  fails(DIFFULEX_E_UNKNOWN_OPTION, R"({"colour": 1})", "colour");
  expect_error(DIFFULEX_E_INVALID_ARGUMENT, {"messages"}, [] { render("a", "", {}); });
  expect_error(DIFFULEX_E_INVALID_ARGUMENT, {"role"}, [] { render("a", "", {{"", "a"}}); });
}

// A tokenizer is of use without its templates.
TEST(TextTemplateChat, BrokenTemplatesAreToldWhenAskedFor) {
  const auto t = load({{"tokenizer_config.json", config("a\n{% if %}")}});
  EXPECT_EQ(t->encode("a", false).size(), 1u);
  const Error error = expect_error(DIFFULEX_E_TOKENIZER, {"tokenizer_config.json", "line 2"},
                                   [&] { render_chat(*t, kHi, ""); });
  EXPECT_TRUE(detail(error, "path").ends_with("/tokenizer_config.json"));
  EXPECT_EQ(detail(error, "line"), "2");
  expect_error(DIFFULEX_E_UNSUPPORTED, {"tag 'include'", "chat_template.jinja"},
               [] { render("{% include 'a' %}", ""); });
  expect_error(DIFFULEX_E_INVALID_ARGUMENT, {"no system"},
               [] { render("{{ raise_exception('no system') }}", ""); });
}

TEST(TextTemplateChat, BrokenFiles) {
  for (const json& entry : {json(1), json{{{"name", "a"}}}, json{{{"template", "a"}}}, json{1}})
    expect_error(DIFFULEX_E_TOKENIZER, {"tokenizer_config.json"}, [&] {
      load({{"tokenizer_config.json", config(entry)}});
    });
  expect_error(DIFFULEX_E_TOKENIZER, {"chat_template.json"}, [] {
    load({{"chat_template.json", "{"}});
  });
}

}  // namespace
}  // namespace diffulex::text
