// Requests: submit, end, read.
#include <algorithm>

#include "api/guard.h"
#include "api/handles.h"
#include "api/request_params.h"

using diffulex::Error;
using diffulex::RequestRecord;
namespace api = diffulex::api;

namespace {

diffulex::Engine& engine_of(const diffulex_engine* engine) {
  return *api::required(engine, "engine").engine;
}

std::shared_ptr<RequestRecord> record_of(const diffulex_engine* engine, diffulex_request_id id) {
  std::shared_ptr<RequestRecord> record = engine_of(engine).find(id);
  if (record == nullptr)
    throw Error(DIFFULEX_E_NOT_FOUND, "there is no request " + std::to_string(id))
        .with("option", "request");
  return record;
}

Error no_tokenizer(const diffulex::Engine& engine, const char* instead) {
  const std::string& dir = engine.config().tokenizer_dir;
  return Error(DIFFULEX_E_TOKENIZER, dir + " has no tokenizer; " + instead).with("path", dir);
}

// Copies [offset, end) of what there is; S_END when the request has finished and this was the rest.
template <class T>
diffulex_status copy_from(const T* data, size_t size, size_t offset, bool finished, T* out,
                          const char* out_name, size_t capacity, size_t* out_count,
                          const char* count_name) {
  api::required(out_count, count_name);
  if (capacity > 0) api::required(out, out_name);
  if (offset > size)
    throw Error(DIFFULEX_E_INVALID_ARGUMENT,
                "offset " + std::to_string(offset) + " is behind the end " + std::to_string(size))
        .with("option", "offset");
  const size_t count = std::min(capacity, size - offset);
  if (count > 0) std::memcpy(out, data + offset, count * sizeof(T));
  *out_count = count;
  return finished && offset + count == size ? DIFFULEX_S_END : DIFFULEX_OK;
}

// Decodes what was committed since the last reader asked.
void update_text(RequestRecord& record) {
  if (record.decoded < record.output.size())  // the search for stop strings may be ahead of us
    record.decode(std::span(record.output).subspan(record.decoded));
  if (record.info.state != DIFFULEX_REQ_FINISHED || record.flushed) return;
  record.text.reserve(record.text.size() + 16);  // flush() gives a few bytes and cannot be repeated
  record.text += record.detokenizer->flush();
  record.flushed = true;
}

diffulex_snapshot snapshot_of(const RequestRecord& record) {
  diffulex_snapshot snapshot{};
  snapshot.step = record.step;
  snapshot.prompt_len = record.info.prompt_len;
  snapshot.committed_len = record.info.committed_len;
  snapshot.tentative_end = record.info.tentative_end;
  snapshot.first_position = record.first_position;
  snapshot.slot_count = static_cast<uint32_t>(record.slots.size());
  snapshot.block_count = static_cast<uint32_t>(record.blocks.size());
  return snapshot;
}

}  // namespace

extern "C" {

void diffulex_request_params_init(diffulex_request_params* params, size_t struct_size) {
  if (params == nullptr || struct_size < 2 * sizeof(uint32_t)) return;
  std::memset(params, 0, struct_size);
  params->struct_size = static_cast<uint32_t>(struct_size);
}

diffulex_status diffulex_request_submit(diffulex_engine* engine, const diffulex_token* tokens,
                                        size_t count, const diffulex_request_params* params,
                                        diffulex_request_id* out, diffulex_error** error) {
  return api::guard(error, [&] {
    diffulex::Engine& e = engine_of(engine);
    api::required(out, "out");
    if (count > 0) api::required(tokens, "tokens");
    *out = e.submit(api::make_spec(e.config(), std::span(tokens, count), params));
    return DIFFULEX_OK;
  });
}

diffulex_status diffulex_request_submit_text(diffulex_engine* engine, const char* text, size_t size,
                                             const diffulex_request_params* params,
                                             diffulex_request_id* out, diffulex_error** error) {
  return api::guard(error, [&] {
    diffulex::Engine& e = engine_of(engine);
    api::required(out, "out");
    if (size > 0) api::required(text, "text");
    if (e.tokenizer() == nullptr) throw no_tokenizer(e, "submit token ids");
    const std::vector<int32_t> tokens = e.tokenizer()->encode(std::string_view(text, size), true);
    *out = e.submit(api::make_spec(e.config(), tokens, params));
    return DIFFULEX_OK;
  });
}

diffulex_status diffulex_request_abort(diffulex_engine* engine, diffulex_request_id request) {
  return api::guard(nullptr, [&] {
    engine_of(engine).abort(record_of(engine, request));
    return DIFFULEX_OK;
  });
}

diffulex_status diffulex_request_release(diffulex_engine* engine, diffulex_request_id request) {
  return api::guard(nullptr, [&] {
    (void)record_of(engine, request);
    engine_of(engine).release(request);
    return DIFFULEX_OK;
  });
}

diffulex_status diffulex_request_get_info(const diffulex_engine* engine,
                                          diffulex_request_id request, diffulex_request_info* out,
                                          diffulex_error** error) {
  return api::guard(error, [&] {
    const auto record = record_of(engine, request);
    const std::lock_guard lock(record->mutex);
    api::write_struct(out, record->info, "out");
    return DIFFULEX_OK;
  });
}

diffulex_status diffulex_request_read_tokens(const diffulex_engine* engine,
                                             diffulex_request_id request, size_t offset,
                                             diffulex_token* tokens, size_t capacity,
                                             size_t* out_count, diffulex_error** error) {
  return api::guard(error, [&] {
    const auto record = record_of(engine, request);
    const std::lock_guard lock(record->mutex);
    const bool finished = record->info.state == DIFFULEX_REQ_FINISHED;
    return copy_from(record->output.data(), record->output.size(), offset, finished, tokens,
                     "tokens", capacity, out_count, "out_count");
  });
}

diffulex_status diffulex_request_read_text(const diffulex_engine* engine,
                                           diffulex_request_id request, size_t offset, char* text,
                                           size_t capacity, size_t* out_size,
                                           diffulex_error** error) {
  return api::guard(error, [&] {
    const auto record = record_of(engine, request);
    const std::lock_guard lock(record->mutex);
    if (record->detokenizer == nullptr) throw no_tokenizer(engine_of(engine), "read token ids");
    update_text(*record);
    const bool finished = record->info.state == DIFFULEX_REQ_FINISHED;
    const size_t size = std::min(record->text.size(), record->text_end);
    return copy_from(record->text.data(), size, offset, finished, text, "text", capacity, out_size,
                     "out_size");
  });
}

diffulex_status diffulex_request_snapshot(const diffulex_engine* engine,
                                          diffulex_request_id request, diffulex_snapshot* out,
                                          diffulex_slot* slots, size_t slot_stride,
                                          size_t slot_capacity, diffulex_block* blocks,
                                          size_t block_stride, size_t block_capacity,
                                          diffulex_error** error) {
  return api::guard(error, [&] {
    const auto record = record_of(engine, request);
    api::check_array(slots, slot_stride, slot_capacity, "slots");
    api::check_array(blocks, block_stride, block_capacity, "blocks");
    const std::lock_guard lock(record->mutex);
    api::write_struct(out, snapshot_of(*record), "out");
    for (size_t i = 0; i < std::min(slot_capacity, record->slots.size()); ++i)
      api::write_element(slots, slot_stride, i, record->slots[i]);
    for (size_t i = 0; i < std::min(block_capacity, record->blocks.size()); ++i)
      api::write_element(blocks, block_stride, i, record->blocks[i]);
    return DIFFULEX_OK;
  });
}

}  // extern "C"
