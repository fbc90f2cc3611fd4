// What a program sees of an engine: streams, reads, canvases.
#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>

#include "engine_question.h"

namespace diffulex_tests {
namespace {

TEST(Engine, InfoTellsWhatRuns) {
  Session session(Options{{"buffer_blocks", "2"}, {"cpu_threads", "1"}});
  ASSERT_NE(session.engine, nullptr) << session.failure.message;
  diffulex_engine_info info{};
  info.struct_size = sizeof(info);
  ASSERT_EQ(diffulex_engine_get_info(session.engine, &info, nullptr), DIFFULEX_OK);
  EXPECT_EQ(info.vocab_size, 1024);
  EXPECT_EQ(info.eos_token, 1022);
  EXPECT_EQ(info.mask_token, 1023);
  EXPECT_EQ(info.block_size, 8u);
  EXPECT_EQ(info.buffer_blocks, 2u);
  EXPECT_EQ(info.page_size, 32u);
  EXPECT_EQ(info.max_model_len, 2048u);
  EXPECT_EQ(info.cpu_threads, 1u);
  EXPECT_STREQ(info.family, "sdar");
  EXPECT_STREQ(info.architecture, "SDARForCausalLM");
  EXPECT_STREQ(info.strategy, "multi_bd");
  const char* const device = std::getenv("DIFFULEX_TEST_DEVICE");
  EXPECT_STREQ(info.device, device != nullptr ? device : "cpu");
  EXPECT_NE(std::strlen(info.kernels), 0u);
}

TEST(Engine, CommittedTextOnlyGrows) {
  Session session(Options{{"buffer_blocks", "4"}}, {{"accept_threshold", "0.9"}});
  ASSERT_NE(session.engine, nullptr);
  const auto params = params_of(200);
  const diffulex_request_id id = session.submit_text(question(session), &params);
  std::string text;
  std::vector<diffulex_token> tokens;
  while (diffulex_engine_step(session.engine, nullptr) == DIFFULEX_OK) {
    const auto now = session.tokens(id);
    ASSERT_GE(now.size(), tokens.size());
    EXPECT_TRUE(std::equal(tokens.begin(), tokens.end(), now.begin()));
    EXPECT_EQ(std::count(now.begin(), now.end(), 1023), 0);
    tokens = now;
    const std::string read = session.text(id);
    EXPECT_EQ(read.compare(0, text.size(), text), 0);
    text = read;
  }
  EXPECT_EQ(text, kAnswer);
  EXPECT_EQ(tokens.back(), 1022);  // the end token is a token, but no text
  const auto info = session.info(id);
  EXPECT_EQ(info.finish, DIFFULEX_FINISH_EOS);
  EXPECT_EQ(info.stop_index, static_cast<int32_t>(tokens.size()) - 1);
  EXPECT_LE(info.queued_ns, info.prefill_ns);
  EXPECT_LE(info.prefill_ns, info.first_commit_ns);
  EXPECT_LE(info.first_commit_ns, info.end_ns);
  // Reading piecewise gives the same, and the end is told.
  std::string pieces;
  diffulex_status status = DIFFULEX_OK;
  while (status == DIFFULEX_OK) {
    char piece[3];
    size_t size = 0;
    status = diffulex_request_read_text(session.engine, id, pieces.size(), piece, sizeof(piece),
                                        &size, nullptr);
    pieces.append(piece, size);
  }
  EXPECT_EQ(status, DIFFULEX_S_END);
  EXPECT_EQ(pieces, text);
}

TEST(Engine, EventsAddUp) {
  Session session(Options{{"buffer_blocks", "4"}}, {{"accept_threshold", "0.9"}},
                  [](auto& config) { config.event_mask = 0xffff; });
  ASSERT_NE(session.engine, nullptr);
  auto params = params_of(100);
  params.user_tag = 77;
  const diffulex_request_id id = session.submit_text(question(session), &params);
  uint32_t committed = 0;
  int started = 0, finished = 0, revisions = 0;
  const auto drain = [&] {
    for (const diffulex_event& event : session.events()) {
      EXPECT_EQ(event.request, id);
      EXPECT_EQ(event.user_tag, 77u);
      EXPECT_EQ(finished, 0) << "nothing follows the end";
      started += event.type == DIFFULEX_EVENT_STARTED ? 1 : 0;
      revisions += event.type == DIFFULEX_EVENT_REVISION ? 1 : 0;
      if (event.type == DIFFULEX_EVENT_COMMIT) committed += event.committed_delta;
      if (event.type != DIFFULEX_EVENT_FINISHED) continue;
      ++finished;
      EXPECT_EQ(event.finish, DIFFULEX_FINISH_EOS);
      EXPECT_EQ(event.committed_len, committed);
    }
  };
  while (diffulex_engine_step(session.engine, nullptr) == DIFFULEX_OK) drain();
  drain();
  EXPECT_EQ(started, 1);
  EXPECT_EQ(finished, 1);
  EXPECT_GT(revisions, 1);
  EXPECT_EQ(committed, session.tokens(id).size());
}

TEST(Engine, UnreadEventsAreMerged) {
  Session session;
  ASSERT_NE(session.engine, nullptr);
  const diffulex_request_id id = session.submit_text(question(session));
  session.run();
  const auto events = session.events();
  ASSERT_EQ(events.size(), 3u);
  EXPECT_EQ(events[0].type, DIFFULEX_EVENT_STARTED);
  EXPECT_EQ(events[1].type, DIFFULEX_EVENT_COMMIT);
  EXPECT_EQ(events[1].committed_delta, session.tokens(id).size());
  EXPECT_EQ(events[2].type, DIFFULEX_EVENT_FINISHED);
  // One at a time: nothing is lost when the caller's array is small.
  session.submit_text(question(session));
  session.run();
  std::vector<diffulex_event_type> kinds;
  diffulex_event event;
  size_t count = 0;
  while (diffulex_engine_wait(session.engine, &event, sizeof(event), 1, &count, 0, nullptr) ==
         DIFFULEX_OK)
    kinds.push_back(event.type);
  EXPECT_EQ(kinds, (std::vector<diffulex_event_type>{DIFFULEX_EVENT_STARTED, DIFFULEX_EVENT_COMMIT,
                                                     DIFFULEX_EVENT_FINISHED}));
}

TEST(Engine, CanvasShowsTheDenoising) {
  Session session(Options{{"buffer_blocks", "4"}}, {{"accept_threshold", "0.9"}});
  ASSERT_NE(session.engine, nullptr);
  const auto params = params_of(200, DIFFULEX_REQUEST_TRACK_SLOTS);
  const diffulex_request_id id = session.submit_text(
      session.chat({{"user",
                     "Continue the story: Near the park lived Anna the fox and Ben the owl. On a "
                     "rainy day Anna found a red kite."}}),
      &params);
  std::vector<diffulex_slot> slots(512), before;
  std::vector<diffulex_block> blocks(64);
  diffulex_snapshot snapshot{};
  bool several_active = false, scored = false;
  while (diffulex_engine_step(session.engine, nullptr) == DIFFULEX_OK) {
    snapshot.struct_size = sizeof(snapshot);
    ASSERT_EQ(diffulex_request_snapshot(session.engine, id, &snapshot, slots.data(),
                                        sizeof(diffulex_slot), slots.size(), blocks.data(),
                                        sizeof(diffulex_block), blocks.size(), nullptr),
              DIFFULEX_OK);
    ASSERT_EQ(snapshot.slot_count, snapshot.block_count * 8);
    ASSERT_EQ(snapshot.first_position, snapshot.prompt_len / 8 * 8);
    const auto committed = session.tokens(id);
    uint32_t active = 0;
    for (uint32_t i = 0; i < snapshot.slot_count; ++i) {
      const uint32_t position = snapshot.first_position + i;
      const diffulex_slot& slot = slots[i];
      EXPECT_EQ((slot.flags & DIFFULEX_SLOT_PROMPT) != 0, position < snapshot.prompt_len);
      EXPECT_EQ(slot.state == DIFFULEX_SLOT_EMPTY, slot.token < 0);
      if (position >= snapshot.prompt_len && position - snapshot.prompt_len < committed.size()) {
        EXPECT_EQ(slot.state, DIFFULEX_SLOT_COMMITTED);
        EXPECT_EQ(slot.token, committed[position - snapshot.prompt_len]);
      }
      if (i < before.size() && before[i].token >= 0) {
        EXPECT_EQ(slot.token, before[i].token);
        EXPECT_EQ(slot.flags & DIFFULEX_SLOT_CHANGED, 0);
      } else if (slot.token >= 0 && position >= snapshot.prompt_len) {
        EXPECT_NE(slot.flags & DIFFULEX_SLOT_REVEALED, 0);
        EXPECT_GT(slot.confidence, 0.0f);
        EXPECT_LE(slot.confidence, 1.0001f);
      }
      scored |= slot.token < 0 && slot.entropy > 0;
    }
    for (uint32_t i = 0; i < snapshot.block_count; ++i)
      active += blocks[i].state == DIFFULEX_BLOCK_ACTIVE ? 1 : 0;
    several_active |= active > 1;
    before.assign(slots.begin(), slots.begin() + snapshot.slot_count);
  }
  EXPECT_TRUE(several_active);
  EXPECT_TRUE(scored);
  EXPECT_EQ(session.info(id).finish, DIFFULEX_FINISH_EOS);
}

}  // namespace
}  // namespace diffulex_tests
