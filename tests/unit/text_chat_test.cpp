#include "text/chat.h"

#include <gtest/gtest.h>

#include "expect_error.h"
#include "text_files.h"

namespace diffulex::text {
namespace {

using diffulex::testing::detail;
using diffulex::testing::expect_error;
using nlohmann::json;

std::string render(const Tokenizer& tokenizer, std::vector<Message> messages,
                   std::string_view options) {
  return render_chatml(tokenizer, messages, options);
}

std::shared_ptr<const Tokenizer> thinker() {
  json root = read_json(kTinyDir + "/tokenizer.json");
  root["added_tokens"].push_back({{"id", 1024}, {"content", "<think>"}, {"special", false}});
  root["added_tokens"].push_back({{"id", 1025}, {"content", "</think>"}, {"special", false}});
  return load_json(root);
}

TEST(TextChat, Conversation) {
  EXPECT_EQ(
      render(*tiny(), {{"system", "Be brief."}, {"user", "Hi\n"}, {"assistant", ""}, {"user", "é"}},
             ""),
      "<|im_start|>system\nBe brief.<|im_end|>\n"
      "<|im_start|>user\nHi\n<|im_end|>\n"
      "<|im_start|>assistant\n<|im_end|>\n"
      "<|im_start|>user\né<|im_end|>\n"
      "<|im_start|>assistant\n");
}

TEST(TextChat, GenerationPrompt) {
  const std::string turn = "<|im_start|>user\nHi<|im_end|>\n";
  EXPECT_EQ(render(*tiny(), {{"user", "Hi"}}, "{}"), turn + "<|im_start|>assistant\n");
  EXPECT_EQ(render(*tiny(), {{"user", "Hi"}}, R"({"add_generation_prompt": true})"),
            turn + "<|im_start|>assistant\n");
  EXPECT_EQ(render(*tiny(), {{"user", "Hi"}}, R"({"add_generation_prompt": false})"), turn);
}

TEST(TextChat, Thinking) {
  const std::string prompt = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n";
  const auto t = thinker();
  EXPECT_EQ(render(*t, {{"user", "Hi"}}, R"({"enable_thinking": true})"), prompt);
  const std::string closed = render(*t, {{"user", "Hi"}}, R"({"enable_thinking": false})");
  EXPECT_EQ(closed, prompt + "<think>\n\n</think>\n\n");
  const std::vector<int32_t> ids = t->encode(closed, true);
  EXPECT_EQ(std::count(ids.begin(), ids.end(), 1024), 1);
  EXPECT_EQ(
      render(*t, {{"user", "Hi"}}, R"({"enable_thinking": false, "add_generation_prompt": false})"),
      "<|im_start|>user\nHi<|im_end|>\n");
  expect_error(DIFFULEX_E_UNSUPPORTED, {"<think>"}, [] {
    render(*tiny(), {{"user", "Hi"}}, R"({"enable_thinking": false})");
  });
}

TEST(TextChat, BadOptions) {
  const auto try_options = [](const char* options) {
    return [options] { render(*tiny(), {{"user", "Hi"}}, options); };
  };
  for (const char* options : {"[]", "null", "1", "{", "{}{}", "\xFF"}) {
    expect_error(DIFFULEX_E_INVALID_ARGUMENT, {"object"}, try_options(options));
  }
  for (const char* key : {"add_generation_prompt", "enable_thinking"}) {
    for (const char* value : {"1", "\"true\"", "null"}) {
      const std::string options = std::string("{\"") + key + "\":" + value + "}";
      const Error error =
          expect_error(DIFFULEX_E_INVALID_ARGUMENT, {key}, try_options(options.c_str()));
      EXPECT_EQ(detail(error, "option"), key);
    }
  }
  const Error error =
      expect_error(DIFFULEX_E_UNKNOWN_OPTION, {"tools"}, try_options(R"({"tools": []})"));
  EXPECT_EQ(detail(error, "option"), "tools");
  EXPECT_NE(detail(error, "allowed").find("enable_thinking"), std::string::npos);
}

TEST(TextChat, BadConversations) {
  expect_error(DIFFULEX_E_INVALID_ARGUMENT, {}, [] { render(*tiny(), {}, ""); });
  expect_error(DIFFULEX_E_INVALID_ARGUMENT, {"role"}, [] {
    render(*tiny(), {{"user", "a"}, {"", "b"}}, "");
  });
}

TEST(TextChat, TokenizersWithoutMarkers) {
  json root = read_json(kTinyDir + "/tokenizer.json");
  root["added_tokens"].erase(2);
  ASSERT_EQ(root["added_tokens"][1]["content"], "<|im_start|>");
  const auto t = load_json(root);
  expect_error(DIFFULEX_E_UNSUPPORTED, {"<|im_end|>"}, [&] { render(*t, {{"user", "a"}}, ""); });
  const auto none = load_json(plain_tokenizer());
  expect_error(DIFFULEX_E_UNSUPPORTED, {"<|im_start|>"}, [&] {
    render(*none, {{"user", "a"}}, "");
  });
}

}  // namespace
}  // namespace diffulex::text
