// Text that cannot be encoded, tokens that are none, buffers without room, conversations that are
// none.
#include <cstring>

#include "errors_checkpoint.h"
#include "errors_engine.h"

namespace diffulex_tests::errors {
namespace {

constexpr uint32_t kUnknownFlag = 1u << 30;

const diffulex_tokenizer* tokenizer() { return diffulex_engine_tokenizer(survivor().engine); }

struct TextBuffer {
  char text[4] = "...";
  size_t size = 77;
};

Outcome encode_fails(const char* text, size_t size, uint32_t flags, size_t capacity) {
  diffulex_token tokens[2] = {7, 7};
  size_t count = 77;
  const Outcome outcome = attempt(
      "",
      [&](auto** e) {
        return diffulex_tokenizer_encode(tokenizer(), text, size, flags, tokens, capacity, &count,
                                         e);
      },
      tokens);
  const bool small = outcome.status == DIFFULEX_E_BUFFER_TOO_SMALL;
  EXPECT_EQ(small ? count > capacity : count == 77, true) << count;
  return outcome;
}

Outcome decode_fails(const std::vector<diffulex_token>& tokens, uint32_t flags) {
  TextBuffer out;
  return attempt(
      "",
      [&](auto** e) {
        return diffulex_tokenizer_decode(tokenizer(), tokens.data(), tokens.size(), flags, out.text,
                                         sizeof(out.text), &out.size, e);
      },
      out);
}

// An incremental decoder over the survivor's tokenizer.
class Stream {
 public:
  Stream() { EXPECT_EQ(diffulex_detok_create(tokenizer(), 0, &detok_, nullptr), DIFFULEX_OK); }
  ~Stream() { diffulex_detok_destroy(detok_); }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  diffulex_status push(const std::vector<diffulex_token>& tokens, std::string* text,
                       diffulex_error** e) {
    size_t size = 0;
    const diffulex_status status = diffulex_detok_push(detok_, tokens.data(), tokens.size(),
                                                       text->data(), text->size(), &size, e);
    needed = size;
    if (status == DIFFULEX_OK) text->resize(size);
    return status;
  }

  diffulex_status flush(std::string* text, diffulex_error** e) {
    size_t size = 0;
    const diffulex_status status =
        diffulex_detok_flush(detok_, text->data(), text->size(), &size, e);
    needed = size;
    if (status == DIFFULEX_OK) text->resize(size);
    return status;
  }

  size_t needed = 0;

 private:
  diffulex_detok* detok_ = nullptr;
};

std::vector<diffulex_token> encode(const std::string& text) {
  std::vector<diffulex_token> tokens(text.size());
  size_t count = 0;
  EXPECT_EQ(diffulex_tokenizer_encode(tokenizer(), text.data(), text.size(), 0, tokens.data(),
                                      tokens.size(), &count, nullptr),
            DIFFULEX_OK);
  tokens.resize(count);
  return tokens;
}

Outcomes unknown_flags() {
  diffulex_detok* detok = nullptr;
  return {
      encode_fails("a", 1, kUnknownFlag, 2), encode_fails("a", 1, DIFFULEX_TEXT_KEEP_SPECIAL, 2),
      decode_fails({1}, kUnknownFlag), decode_fails({1}, DIFFULEX_TEXT_PARSE_SPECIAL),
      attempt(
          "", [&](auto** e) { return diffulex_detok_create(tokenizer(), kUnknownFlag, &detok, e); },
          detok)};
}

// Nothing of the text is read before its size is refused.
Outcomes huge_text() { return {encode_fails("", size_t{1} << 31, 0, 2)}; }

Outcomes strange_tokens() {
  Stream stream;
  Outcomes outcomes;
  for (const diffulex_token token :
       {-1, INT32_MIN, diffulex_tokenizer_vocab_size(tokenizer()), INT32_MAX}) {
    outcomes.push_back(decode_fails({1, token}, 0));
    std::string text(64, '.');
    outcomes.push_back(attempt("", [&](auto** e) { return stream.push({1, token}, &text, e); }));
    EXPECT_EQ(text, std::string(64, '.'));
  }
  std::string text(64, '.');
  EXPECT_EQ(stream.push(encode("abc"), &text, nullptr), DIFFULEX_OK);
  EXPECT_EQ(text, "abc") << "a refused push leaves nothing behind";
  return outcomes;
}

Outcomes small_token_buffer() {
  return {encode_fails("one two three", 13, 0, 2), encode_fails("one", 3, 0, 0)};
}

Outcomes small_decode_buffer() {
  char text[4] = "...";
  size_t size = 0;
  const std::vector<diffulex_token> tokens = encode("five bytes");
  Outcomes outcomes = {attempt(
      "",
      [&](auto** e) {
        return diffulex_tokenizer_decode(tokenizer(), tokens.data(), tokens.size(), 0, text,
                                         sizeof(text), &size, e);
      },
      text)};
  EXPECT_EQ(size, 10u);
  return outcomes;
}

Outcomes small_render_buffer() {
  const diffulex_message message = {"user", "hello"};
  char text[4] = "...";
  size_t size = 0;
  Outcomes outcomes = {attempt(
      "",
      [&](auto** e) {
        return diffulex_tokenizer_render_chat(tokenizer(), &message, 1, nullptr, text, sizeof(text),
                                              &size, e);
      },
      text)};
  EXPECT_GT(size, sizeof(text));
  return outcomes;
}

// What did not fit is given again, whole.
Outcomes small_stream_buffers() {
  Stream stream;
  const std::vector<diffulex_token> tokens = encode("five bytes");
  std::string small(3, '.'), large(64, '.');
  Outcomes outcomes = {attempt("", [&](auto** e) { return stream.push(tokens, &small, e); })};
  EXPECT_EQ(stream.needed, 10u);
  EXPECT_EQ(small, "...");
  EXPECT_EQ(stream.push(tokens, &large, nullptr), DIFFULEX_OK);
  EXPECT_EQ(large, "five bytes");
  const std::vector<diffulex_token> cut = {encode("\u3042").front()};  // not all of its bytes
  EXPECT_EQ(stream.push(cut, &small, nullptr), DIFFULEX_OK);
  std::string none;
  outcomes.push_back(attempt("", [&](auto** e) { return stream.flush(&none, e); }));
  EXPECT_EQ(stream.needed, 3u);
  large.assign(64, '.');
  EXPECT_EQ(stream.flush(&large, nullptr), DIFFULEX_OK);
  EXPECT_EQ(large, "\uFFFD");
  return outcomes;
}

Outcome render_fails(const diffulex_tokenizer* with, const std::vector<diffulex_message>& messages,
                     const char* options, const std::string& culprit = "") {
  char text[200] = "...";
  size_t size = 77;
  return attempt(
      culprit,
      [&](auto** e) {
        return diffulex_tokenizer_render_chat(with, messages.data(), messages.size(), options, text,
                                              sizeof(text), &size, e);
      },
      text, size);
}

Outcomes bad_chat_options(const std::vector<const char*>& all) {
  Outcomes outcomes;
  for (const char* options : all)
    outcomes.push_back(render_fails(tokenizer(), {{"user", "hello"}}, options));
  return outcomes;
}

Outcomes chat_without_markers() {
  const TempDir dir;
  nlohmann::json json = nlohmann::json::parse(read_file(model_dir() + "/tokenizer.json"));
  json["added_tokens"] = nlohmann::json::array();
  write_file(dir / "tokenizer.json", json.dump());
  diffulex_tokenizer* plain = nullptr;
  EXPECT_EQ(diffulex_tokenizer_load(dir.path().c_str(), &plain, nullptr), DIFFULEX_OK);
  Outcomes outcomes = {render_fails(plain, {{"user", "hello"}}, nullptr, "<|im_start|>")};
  diffulex_tokenizer_release(plain);
  return outcomes;
}

// A conversation for a tokenizer with this chat template.
Outcome template_fails(const std::string& source) {
  const TempDir dir;
  write_file(dir / "tokenizer.json", read_file(model_dir() + "/tokenizer.json"));
  write_file(dir / "chat_template.jinja", source);
  diffulex_tokenizer* tokenizer = nullptr;
  EXPECT_EQ(diffulex_tokenizer_load(dir.path().c_str(), &tokenizer, nullptr), DIFFULEX_OK);
  Outcome outcome = render_fails(tokenizer, {{"user", "hello"}}, nullptr, "chat_template.jinja");
  diffulex_tokenizer_release(tokenizer);
  return outcome;
}

Outcomes templates_fail(const std::vector<const char*>& sources) {
  Outcomes outcomes;
  for (const char* source : sources) outcomes.push_back(template_fails(source));
  return outcomes;
}

}  // namespace

void add_text_cases(Cases* cases) {
  Cases& c = *cases;
  c["text-flags"] = unknown_flags;
  c["text-too-large"] = huge_text;
  c["tokens-range"] = strange_tokens;
  c["tokens-buffer"] = small_token_buffer;
  c["text-buffer"] = [] {
    return small_decode_buffer() + small_render_buffer() + small_stream_buffers();
  };
  c["chat-empty"] = [] { return Outcomes{render_fails(tokenizer(), {}, nullptr)}; };
  c["chat-role-empty"] = [] { return Outcomes{render_fails(tokenizer(), {{"", "a"}}, nullptr)}; };
  c["chat-options"] = [] { return bad_chat_options({"{", "[]", "true", "{} {}"}); };
  c["chat-option-unknown"] = [] { return bad_chat_options({R"({"colour": true})"}); };
  c["chat-option-mistyped"] = [] {
    return bad_chat_options(
        {R"({"add_generation_prompt": 1})", R"({"add_generation_prompt": null})"});
  };
  c["chat-messages-twice"] = [] {
    return bad_chat_options({R"({"messages": [{"role": "user", "content": "a"}]})"});
  };
  c["chat-template-unknown"] = [] { return bad_chat_options({R"({"template": "no such"})"}); };
  c["chat-template-malformed"] = [] {
    return templates_fail({"{% if %}", "{{ 'a }}", "{% for a in b %}", "{{ 1 + }}"});
  };
  c["chat-template-uncovered"] = [] {
    return templates_fail({"{% include 'a' %}", "{{ 1|pprint }}", "{{ 'a'.zfill(3) }}"});
  };
  c["chat-template-fails"] = [] {
    return templates_fail({"{{ nothing.at.all }}", "{{ 'a' + 1 }}",
                           "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}"});
  };
  c["chat-template-refuses"] = [] {
    return templates_fail({"{{ raise_exception('no user, please') }}"});
  };
  c["chat-markers"] = chat_without_markers;
}

}  // namespace diffulex_tests::errors
