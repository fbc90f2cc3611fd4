// Reads of what is not there: dead ids, offsets behind the end, indices behind the last, arrays
// without room.
#include "errors_engine.h"

namespace diffulex_tests::errors {
namespace {

// Ids that name no request: none, of nobody, released, and of another life of the same slot.
std::vector<diffulex_request_id> dead_ids() {
  Session& session = survivor();
  const diffulex_request_id released = session.submit({1, 2});
  forget(session, released);
  const diffulex_request_id later = session.submit({1, 2});
  forget(session, later);
  EXPECT_NE(later, released);
  constexpr diffulex_request_id kGeneration = diffulex_request_id{1} << 32;
  return {0, 1, released, later, later + kGeneration, later + 1, UINT64_MAX};
}

template <class Out, class Call>
Outcomes dead_ids_fail(Call&& call) {
  Outcomes outcomes;
  for (const diffulex_request_id id : dead_ids()) {
    Out out{};
    outcomes.push_back(attempt(
        std::to_string(id), [&](diffulex_error** e) { return call(id, &out, e); }, out));
  }
  return outcomes;
}

struct TokensRead {
  diffulex_token tokens[4];
  size_t count;
};

struct TextRead {
  char text[4];
  size_t size;
};

struct Canvas {
  diffulex_snapshot head = sized<diffulex_snapshot>();
  diffulex_slot slots[4];
};

struct Info {
  diffulex_request_info info = sized<diffulex_request_info>();
};

diffulex_status read_tokens(diffulex_request_id id, size_t offset, TokensRead* out,
                            diffulex_error** e) {
  return diffulex_request_read_tokens(survivor().engine, id, offset, out->tokens, 4, &out->count,
                                      e);
}

diffulex_status read_text(diffulex_request_id id, size_t offset, TextRead* out,
                          diffulex_error** e) {
  return diffulex_request_read_text(survivor().engine, id, offset, out->text, 4, &out->size, e);
}

diffulex_status read_canvas(diffulex_request_id id, Canvas* out, diffulex_error** e) {
  return diffulex_request_snapshot(survivor().engine, id, &out->head, out->slots,
                                   sizeof(diffulex_slot), 4, nullptr, 0, 0, e);
}

Outcomes dead_end() {
  Outcomes outcomes;
  for (const diffulex_request_id id : dead_ids()) {
    outcomes.push_back(silent(diffulex_request_abort(survivor().engine, id)));
    outcomes.push_back(silent(diffulex_request_release(survivor().engine, id)));
  }
  return outcomes;
}

// Runs `body` with a request that has finished.
Outcomes with_answer(const std::function<Outcomes(diffulex_request_id)>& body) {
  Session& session = survivor();
  const auto params = params_of(4);
  const diffulex_request_id id = session.submit({1021, 304}, &params);
  session.run();
  Outcomes outcomes = body(id);
  forget(session, id);
  return outcomes;
}

Outcomes tokens_behind_end() {
  return with_answer([](diffulex_request_id id) {
    const size_t end = survivor().tokens(id).size();
    TokensRead out{};
    return Outcomes{attempt(
                        "", [&](auto** e) { return read_tokens(id, end + 1, &out, e); }, out),
                    attempt(
                        "", [&](auto** e) { return read_tokens(id, SIZE_MAX, &out, e); }, out)};
  });
}

Outcomes text_behind_end() {
  return with_answer([](diffulex_request_id id) {
    const size_t end = survivor().text(id).size();
    TextRead out{};
    return Outcomes{attempt(
                        "", [&](auto** e) { return read_text(id, end + 1, &out, e); }, out),
                    attempt(
                        "", [&](auto** e) { return read_text(id, SIZE_MAX, &out, e); }, out)};
  });
}

Outcomes canvas_strides() {
  return with_answer([](diffulex_request_id id) {
    Canvas out{};
    diffulex_block blocks[4] = {};
    const auto snapshot = [&](size_t slot_stride, size_t block_stride, diffulex_error** e) {
      return diffulex_request_snapshot(survivor().engine, id, &out.head, out.slots, slot_stride, 4,
                                       blocks, block_stride, 4, e);
    };
    return Outcomes{
        attempt(
            "slots: stride", [&](auto** e) { return snapshot(0, sizeof(diffulex_block), e); }, out,
            blocks),
        attempt(
            "blocks: stride", [&](auto** e) { return snapshot(sizeof(diffulex_slot), 7, e); }, out,
            blocks)};
  });
}

Outcome wait_fails(size_t stride, size_t capacity, int64_t timeout_ms) {
  diffulex_event event{};
  size_t count = 77;
  return attempt(
      "",
      [&](auto** e) {
        return diffulex_engine_wait(survivor().engine, &event, stride, capacity, &count, timeout_ms,
                                    e);
      },
      event, count);
}

Outcome steps_stride() {
  diffulex_step_stats steps[2] = {};
  size_t count = 77;
  return attempt(
      "",
      [&](auto** e) {
        return diffulex_engine_read_steps(survivor().engine, 0, steps, 4, 2, &count, e);
      },
      steps, count);
}

Outcomes bad_strides() {
  return canvas_strides() + Outcomes{wait_fails(0, 1, 0), wait_fails(7, 1, 0), steps_stride()};
}

Outcomes bad_timeout() {
  constexpr size_t kStride = sizeof(diffulex_event);
  return {wait_fails(kStride, 1, -2), wait_fails(kStride, 1, INT64_MIN)};
}

Outcomes behind_last_index() {
  auto device = sized<diffulex_device_info>();
  auto option = sized<diffulex_option_info>();
  Outcomes outcomes;
  for (const size_t index : {size_t{1000}, SIZE_MAX}) {
    outcomes.push_back(attempt(
        "", [&](auto** e) { return diffulex_device_get(index, &device, e); }, device));
    outcomes.push_back(attempt(
        "", [&](auto** e) { return diffulex_engine_option(index, &option, e); }, option));
    outcomes.push_back(attempt(
        "", [&](auto** e) { return diffulex_strategy_option("multi_bd", index, &option, e); },
        option));
  }
  return outcomes;
}

}  // namespace

void add_read_cases(Cases* cases) {
  Cases& c = *cases;
  c["dead-id-info"] = [] {
    return dead_ids_fail<Info>([](auto id, auto* out, auto** e) {
      return diffulex_request_get_info(survivor().engine, id, &out->info, e);
    });
  };
  c["dead-id-tokens"] = [] {
    return dead_ids_fail<TokensRead>(
        [](auto id, auto* out, auto** e) { return read_tokens(id, 0, out, e); });
  };
  c["dead-id-text"] = [] {
    return dead_ids_fail<TextRead>(
        [](auto id, auto* out, auto** e) { return read_text(id, 0, out, e); });
  };
  c["dead-id-snapshot"] = [] { return dead_ids_fail<Canvas>(read_canvas); };
  c["dead-id-end"] = dead_end;
  c["tokens-behind-end"] = tokens_behind_end;
  c["text-behind-end"] = text_behind_end;
  c["stride"] = bad_strides;
  c["wait-capacity"] = [] { return Outcomes{wait_fails(sizeof(diffulex_event), 0, 0)}; };
  c["wait-timeout"] = bad_timeout;
  c["index-behind-last"] = behind_last_index;
}

}  // namespace diffulex_tests::errors
