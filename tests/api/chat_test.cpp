// Conversations as a caller of the library has them rendered.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "diffulex.h"
#include "safetensors_file.h"

namespace {

using diffulex::testing::read_file;
using diffulex::testing::TempDir;
using diffulex::testing::write_file;

// The tokenizer of the repository's model with another chat template.
class Chat : public ::testing::Test {
 protected:
  ~Chat() override { diffulex_tokenizer_release(tokenizer_); }

  void load(const std::string& source) {
    write_file(dir_ / "tokenizer.json",
               read_file(std::string(DIFFULEX_MODELS_DIR) + "/tiny-sdar/tokenizer.json"));
    write_file(dir_ / "chat_template.jinja", source);
    ASSERT_EQ(diffulex_tokenizer_load(dir_.path().c_str(), &tokenizer_, nullptr), DIFFULEX_OK);
  }

  std::string render(const std::vector<diffulex_message>& messages, const char* options) {
    size_t size = 0;
    const diffulex_status asked = diffulex_tokenizer_render_chat(
        tokenizer_, messages.data(), messages.size(), options, nullptr, 0, &size, nullptr);
    EXPECT_EQ(asked, size > 0 ? DIFFULEX_E_BUFFER_TOO_SMALL : DIFFULEX_OK);
    std::string text(size, '\0');
    EXPECT_EQ(diffulex_tokenizer_render_chat(tokenizer_, messages.data(), messages.size(), options,
                                             text.data(), text.size(), &size, nullptr),
              DIFFULEX_OK);
    return text;
  }

 private:
  TempDir dir_;
  diffulex_tokenizer* tokenizer_ = nullptr;
};

TEST_F(Chat, TheTemplateOfTheDirectory) {
  load(
      "{% for m in messages %}[{{ m.role }}: {{ m.content }}]{% endfor %}"
      "{{ '[assistant: ' if add_generation_prompt }}");
  EXPECT_EQ(render({{"user", "Hi"}}, nullptr), "[user: Hi][assistant: ");
  EXPECT_EQ(render({{"user", "Hi"}, {"assistant", "Ho"}}, R"({"add_generation_prompt": false})"),
            "[user: Hi][assistant: Ho]");
}

TEST_F(Chat, ToolsAndMessagesAsJson) {
  load(
      "{{ tools | tojson }}{% for m in messages %}{{ m.tool_calls | tojson if m.tool_calls "
      "else m.content }}{% endfor %}{{ date }}{{ enable_thinking }}");
  EXPECT_EQ(render({}, R"({
      "messages": [{"role": "user", "content": "a"},
                   {"role": "assistant", "tool_calls": [{"name": "f", "arguments": {"x": 1}}]}],
      "tools": [{"type": "function", "function": {"name": "f"}}],
      "variables": {"date": "today"}, "enable_thinking": false})"),
            R"([{"type": "function", "function": {"name": "f"}}]a)"
            R"([{"name": "f", "arguments": {"x": 1}}]todayFalse)");
}

TEST_F(Chat, NothingIsAPrompt) {
  load("{# says nothing #}");
  EXPECT_EQ(render({{"user", "Hi"}}, nullptr), "");
}

}  // namespace
