// Tokenizers, chat rendering and incremental decoding.
#include <atomic>

#include "api/guard.h"
#include "api/handles.h"
#include "text/chat.h"

using diffulex::Error;
using diffulex::text::Tokenizer;
namespace api = diffulex::api;

namespace {

const Tokenizer& tokenizer_of(const diffulex_tokenizer* handle) {
  return *api::required(handle, "tokenizer").tokenizer;
}

void check_flags(uint32_t flags, uint32_t known) {
  if ((flags & ~known) != 0)
    throw Error(DIFFULEX_E_INVALID_ARGUMENT, "flags has unknown bits").with("option", "flags");
}

std::span<const int32_t> tokens_of(const diffulex_token* tokens, size_t count) {
  if (count > 0) api::required(tokens, "tokens");
  return {tokens, count};
}

diffulex_status copy_text(const std::string& from, char* text, size_t capacity, size_t* out_size) {
  return api::copy_out(from.data(), from.size(),
                       api::OutBuffer<char>{text, capacity, "text", out_size, "out_size"});
}

}  // namespace

extern "C" {

diffulex_status diffulex_tokenizer_load(const char* model_dir, diffulex_tokenizer** out,
                                        diffulex_error** error) {
  return api::guard(error, [&] {
    if (api::required(model_dir, "model_dir") == '\0')
      throw Error(DIFFULEX_E_INVALID_ARGUMENT, "model_dir is empty").with("option", "model_dir");
    api::required(out, "out");
    auto handle = std::make_unique<diffulex_tokenizer>();
    handle->tokenizer = Tokenizer::load(model_dir);
    *out = handle.release();
    return DIFFULEX_OK;
  });
}

diffulex_tokenizer* diffulex_tokenizer_retain(const diffulex_tokenizer* tokenizer) {
  if (tokenizer != nullptr) tokenizer->references.fetch_add(1, std::memory_order_relaxed);
  return const_cast<diffulex_tokenizer*>(tokenizer);
}

void diffulex_tokenizer_release(diffulex_tokenizer* tokenizer) {
  if (tokenizer != nullptr && tokenizer->references.fetch_sub(1, std::memory_order_acq_rel) == 1)
    delete tokenizer;
}

int32_t diffulex_tokenizer_vocab_size(const diffulex_tokenizer* tokenizer) {
  return tokenizer != nullptr ? tokenizer->tokenizer->vocab_size() : 0;
}

diffulex_token diffulex_tokenizer_special(const diffulex_tokenizer* tokenizer, const char* name) {
  return tokenizer != nullptr && name != nullptr ? tokenizer->tokenizer->special(name) : -1;
}

diffulex_status diffulex_tokenizer_encode(const diffulex_tokenizer* tokenizer, const char* text,
                                          size_t size, uint32_t flags, diffulex_token* tokens,
                                          size_t capacity, size_t* out_count,
                                          diffulex_error** error) {
  return api::guard(error, [&] {
    check_flags(flags, DIFFULEX_TEXT_PARSE_SPECIAL);
    if (size > 0) api::required(text, "text");
    const bool parse = (flags & DIFFULEX_TEXT_PARSE_SPECIAL) != 0;
    const std::vector<int32_t> ids =
        tokenizer_of(tokenizer).encode(std::string_view(text, size), parse);
    return api::copy_out(
        ids.data(), ids.size(),
        api::OutBuffer<diffulex_token>{tokens, capacity, "tokens", out_count, "out_count"});
  });
}

diffulex_status diffulex_tokenizer_decode(const diffulex_tokenizer* tokenizer,
                                          const diffulex_token* tokens, size_t count,
                                          uint32_t flags, char* text, size_t capacity,
                                          size_t* out_size, diffulex_error** error) {
  return api::guard(error, [&] {
    check_flags(flags, DIFFULEX_TEXT_KEEP_SPECIAL);
    const bool keep = (flags & DIFFULEX_TEXT_KEEP_SPECIAL) != 0;
    const std::string decoded = tokenizer_of(tokenizer).decode(tokens_of(tokens, count), keep);
    return copy_text(decoded, text, capacity, out_size);
  });
}

diffulex_status diffulex_tokenizer_render_chat(const diffulex_tokenizer* tokenizer,
                                               const diffulex_message* messages, size_t count,
                                               const char* options_json, char* text,
                                               size_t capacity, size_t* out_size,
                                               diffulex_error** error) {
  return api::guard(error, [&] {
    if (count > 0) api::required(messages, "messages");
    std::vector<diffulex::text::Message> list;
    for (const diffulex_message& message : std::span(messages, count)) {
      api::required(message.role, "messages.role");
      api::required(message.content, "messages.content");
      list.push_back({message.role, message.content});
    }
    const std::string prompt = diffulex::text::render_chat(
        tokenizer_of(tokenizer), list, options_json != nullptr ? options_json : "");
    return copy_text(prompt, text, capacity, out_size);
  });
}

diffulex_status diffulex_detok_create(const diffulex_tokenizer* tokenizer, uint32_t flags,
                                      diffulex_detok** out, diffulex_error** error) {
  return api::guard(error, [&] {
    check_flags(flags, DIFFULEX_TEXT_KEEP_SPECIAL);
    api::required(tokenizer, "tokenizer");
    api::required(out, "out");
    const bool keep = (flags & DIFFULEX_TEXT_KEEP_SPECIAL) != 0;
    *out = new diffulex_detok{diffulex::text::Detokenizer(tokenizer->tokenizer, keep)};
    return DIFFULEX_OK;
  });
}

diffulex_status diffulex_detok_push(diffulex_detok* detok, const diffulex_token* tokens,
                                    size_t count, char* text, size_t capacity, size_t* out_size,
                                    diffulex_error** error) {
  return api::guard(error, [&] {
    diffulex::text::Detokenizer next =
        api::required(detok, "detok").detokenizer;  // a push that does not fit takes nothing
    const std::string piece = next.push(tokens_of(tokens, count));
    const diffulex_status status = copy_text(piece, text, capacity, out_size);
    detok->detokenizer = std::move(next);
    return status;
  });
}

diffulex_status diffulex_detok_flush(diffulex_detok* detok, char* text, size_t capacity,
                                     size_t* out_size, diffulex_error** error) {
  return api::guard(error, [&] {
    diffulex::text::Detokenizer next = api::required(detok, "detok").detokenizer;
    const std::string piece = next.flush();
    const diffulex_status status = copy_text(piece, text, capacity, out_size);
    detok->detokenizer = std::move(next);
    return status;
  });
}

void diffulex_detok_destroy(diffulex_detok* detok) { delete detok; }

}  // extern "C"
