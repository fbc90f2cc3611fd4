// What a program sees of an engine: streams, reads, canvases, limits, prefix reuse, threads,
// misuse.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <set>
#include <thread>

#include "session.h"

namespace diffulex_tests {
namespace {

const char* const kQuestion = "Sort these numbers from smallest to largest: 41, 7, 93, 12, 66";
const char* const kAnswer = "7, 12, 41, 66, 93";

std::string question(const Session& session) { return session.chat({{"user", kQuestion}}); }

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

TEST(Engine, LimitsCountOutputTokens) {
  for (const int buffer : {1, 3}) {
    Session session(Options{{"buffer_blocks", std::to_string(buffer)}, {"max_model_len", "64"}});
    ASSERT_NE(session.engine, nullptr) << session.failure.message;
    for (const uint32_t limit : {1u, 5u, 8u, 13u}) {
      const auto params = params_of(limit, DIFFULEX_REQUEST_IGNORE_EOS);
      const diffulex_request_id id = session.submit({1021, 304, 198, 500, 400}, &params);
      session.run();
      EXPECT_EQ(session.info(id).finish, DIFFULEX_FINISH_MAX_TOKENS);
      EXPECT_EQ(session.tokens(id).size(), limit);
    }
    const auto params = params_of(1000, DIFFULEX_REQUEST_IGNORE_EOS);
    const diffulex_request_id id = session.submit({1021, 304, 198, 500, 400}, &params);
    session.run();
    EXPECT_EQ(session.info(id).finish, DIFFULEX_FINISH_CONTEXT);
    EXPECT_EQ(session.tokens(id).size(), 59u);
    auto few = params_of(1000, DIFFULEX_REQUEST_IGNORE_EOS);
    few.max_steps = 3;
    const diffulex_request_id short_id = session.submit({1021, 304, 198, 500, 400}, &few);
    session.run();
    EXPECT_EQ(session.info(short_id).finish, DIFFULEX_FINISH_MAX_STEPS);
    EXPECT_EQ(session.info(short_id).steps, 3u);
    const auto tokens = session.tokens(short_id);
    EXPECT_EQ(std::count(tokens.begin(), tokens.end(), 1023), 0);
  }
}

// One token per forward: as slow as decoding gets, and still nothing ends it but its limit.
TEST(Engine, SlowRequestsAreNotCutShort) {
  Session session({}, {{"accept_threshold", "1"}});
  ASSERT_NE(session.engine, nullptr);
  const auto params = params_of(40, DIFFULEX_REQUEST_IGNORE_EOS);
  const diffulex_request_id id = session.submit({1021, 304, 198, 500, 400}, &params);
  while (diffulex_engine_step(session.engine, nullptr) == DIFFULEX_OK) {
    const auto tokens = session.tokens(id);  // never those that are still to come
    EXPECT_EQ(std::count(tokens.begin(), tokens.end(), 1023), 0);
  }
  EXPECT_EQ(session.info(id).finish, DIFFULEX_FINISH_MAX_TOKENS);
  EXPECT_EQ(session.tokens(id).size(), 40u);
  EXPECT_EQ(session.info(id).denoise_steps, 40u);
}

// Whatever the cache's size, it holds one request of max_model_len.
TEST(Engine, TheCacheHoldsTheLongestRequest) {
  Session session(Options{{"kv_bytes", "1048576"}});
  ASSERT_NE(session.engine, nullptr);
  diffulex_engine_info info{};
  info.struct_size = sizeof(info);
  ASSERT_EQ(diffulex_engine_get_info(session.engine, &info, nullptr), DIFFULEX_OK);
  ASSERT_LT(info.max_model_len, 2048u);
  const auto params = params_of(2000, DIFFULEX_REQUEST_IGNORE_EOS);
  const diffulex_request_id id =
      session.submit(std::vector<diffulex_token>(info.max_model_len - 20, 5), &params);
  session.run();
  EXPECT_EQ(session.info(id).finish, DIFFULEX_FINISH_CONTEXT);
  EXPECT_EQ(session.tokens(id).size(), 20u);
}

// A stop string may begin in one token and end in another, and in one block or another.
TEST(Engine, StopStringsEndTheText) {
  for (const int buffer : {1, 4}) {
    Session session(Options{{"buffer_blocks", std::to_string(buffer)}},
                    {{"accept_threshold", "0.9"}});
    ASSERT_NE(session.engine, nullptr);
    const diffulex_request_id whole = session.submit_text(question(session));
    session.run();
    const std::string text = session.text(whole);
    const auto all = session.tokens(whole);
    for (const size_t length : {1u, 3u, 9u}) {
      for (size_t at = 0; at + length <= text.size(); at += 5) {
        const std::string stop = text.substr(at, length);
        const char* const list[] = {"never in there", stop.c_str()};
        auto params = params_of(100);
        params.stop_strings = list;
        params.stop_string_count = 2;
        const diffulex_request_id id = session.submit_text(question(session), &params);
        std::string seen;
        while (diffulex_engine_step(session.engine, nullptr) == DIFFULEX_OK) {
          const std::string now = session.text(id);
          ASSERT_TRUE(now.starts_with(seen));
          seen = now;
        }
        ASSERT_EQ(session.info(id).finish, DIFFULEX_FINISH_STOP_STRING) << stop;
        ASSERT_EQ(session.text(id), text.substr(0, text.find(stop)));
        const auto tokens = session.tokens(id);
        ASSERT_TRUE(std::equal(tokens.begin(), tokens.end(), all.begin()));
        ASSERT_EQ(session.info(id).stop_index, static_cast<int32_t>(tokens.size()) - 1);
      }
    }
    auto params = params_of(100);
    const char* const never = "never in there";
    params.stop_strings = &never;
    params.stop_string_count = 1;
    const diffulex_request_id id = session.submit_text(question(session), &params);
    session.run();
    EXPECT_EQ(session.text(id), text);
    EXPECT_EQ(session.info(id).finish, DIFFULEX_FINISH_EOS);
    const char* const nothing = "";
    params.stop_strings = &nothing;
    EXPECT_EQ(session.submit_text(question(session), &params), 0u);
    EXPECT_EQ(session.failure.option, "stop_strings");
  }
}

TEST(Engine, MinPKeepsOnlyTheProbable) {
  Session session;
  ASSERT_NE(session.engine, nullptr);
  const diffulex_request_id greedy = session.submit_text(question(session));
  auto params = params_of(200);
  params.temperature = 3;
  params.min_p = 1;  // nothing but the most probable token
  const diffulex_request_id sharp = session.submit_text(question(session), &params);
  params.min_p = 0;
  const diffulex_request_id loose = session.submit_text(question(session), &params);
  session.run();
  EXPECT_EQ(session.tokens(sharp).size() > 0 ? session.tokens(sharp)[0] : -1,
            session.tokens(greedy)[0]);
  EXPECT_NE(session.tokens(loose), session.tokens(sharp));
  params.min_p = 1.5f;
  EXPECT_EQ(session.submit_text(question(session), &params), 0u);
  EXPECT_EQ(session.failure.option, "min_p");
}

TEST(Engine, DeadlineKeepsWhatIsFilled) {
  Session session;
  ASSERT_NE(session.engine, nullptr);
  auto params = params_of(1000, DIFFULEX_REQUEST_IGNORE_EOS);
  params.deadline_ms = 60'000;
  const diffulex_request_id patient = session.submit({1021, 304, 198, 500, 400}, &params);
  params.deadline_ms = 20;
  const diffulex_request_id hurried = session.submit({1021, 304, 198, 500, 400}, &params);
  ASSERT_EQ(diffulex_engine_step(session.engine, nullptr), DIFFULEX_OK);
  std::this_thread::sleep_for(std::chrono::milliseconds(25));
  session.run();
  EXPECT_EQ(session.info(hurried).finish, DIFFULEX_FINISH_DEADLINE);
  EXPECT_EQ(session.info(hurried).status, DIFFULEX_OK);
  const auto cut = session.tokens(hurried), whole = session.tokens(patient);
  EXPECT_EQ(session.info(patient).finish, DIFFULEX_FINISH_MAX_TOKENS);
  ASSERT_LT(cut.size(), whole.size());
  EXPECT_EQ(cut, std::vector<diffulex_token>(whole.begin(),
                                             whole.begin() + static_cast<ptrdiff_t>(cut.size())));
}

TEST(Engine, RepetitionEndsTheOutput) {
  Session session;
  ASSERT_NE(session.engine, nullptr);
  auto params = params_of(200, DIFFULEX_REQUEST_IGNORE_EOS);
  const diffulex_request_id whole = session.submit({1021, 304, 198, 500, 400}, &params);
  params.max_repetition_run = 4;
  const diffulex_request_id id = session.submit({1021, 304, 198, 500, 400}, &params);
  session.run();
  const auto all = session.tokens(whole), cut = session.tokens(id);
  size_t end = 0, run = 0;
  while (end < all.size() && run < 4) {
    run = end > 0 && all[end] == all[end - 1] ? run + 1 : 1;
    ++end;
  }
  ASSERT_EQ(run, 4u);  // the model repeats itself behind its end token
  EXPECT_EQ(session.info(id).finish, DIFFULEX_FINISH_REPETITION);
  EXPECT_EQ(cut,
            std::vector<diffulex_token>(all.begin(), all.begin() + static_cast<ptrdiff_t>(end)));
}

TEST(Engine, PriorityGoesFirst) {
  Session session(Options{{"max_requests", "1"}});
  ASSERT_NE(session.engine, nullptr);
  auto params = params_of(8, DIFFULEX_REQUEST_IGNORE_EOS);
  const diffulex_request_id low = session.submit({1021, 304, 198}, &params);
  params.priority = 1;
  const diffulex_request_id high = session.submit({1021, 304, 198}, &params);
  session.run();
  EXPECT_LT(session.info(high).end_ns, session.info(low).end_ns);
}

TEST(Engine, LimitsOutOfRangeAreRefused) {
  Session session;
  ASSERT_NE(session.engine, nullptr);
  auto params = params_of(8);
  params.max_repetition_run = 1;
  EXPECT_EQ(session.submit({1021, 304}, &params), 0u);
  EXPECT_EQ(session.failure.option, "max_repetition_run");
  params = params_of(8);
  params.priority = -1001;
  EXPECT_EQ(session.submit({1021, 304}, &params), 0u);
  EXPECT_EQ(session.failure.status, DIFFULEX_E_INVALID_ARGUMENT);
  EXPECT_EQ(session.failure.option, "priority");
}

TEST(Engine, StopTokensEndTheOutput) {
  Session session({}, {{"accept_threshold", "0.9"}});
  ASSERT_NE(session.engine, nullptr);
  const diffulex_request_id whole = session.submit_text(question(session));
  session.run();
  const auto all = session.tokens(whole);
  auto params = params_of(100);
  const diffulex_token stop = all[3];
  params.stop_tokens = &stop;
  params.stop_token_count = 1;
  const diffulex_request_id id = session.submit_text(question(session), &params);
  session.run();
  const auto cut = session.tokens(id);
  const auto first = std::find(all.begin(), all.end(), stop) - all.begin();
  EXPECT_EQ(session.info(id).finish, DIFFULEX_FINISH_STOP_TOKEN);
  EXPECT_EQ(cut, (std::vector<diffulex_token>(all.begin(), all.begin() + first + 1)));
}

// A second request with the same prompt and a second turn of a conversation forward only what the
// cache lacks.
TEST(Engine, PrefixCachingForwardsOnlyWhatIsNew) {
  Session session(Options{{"page_size", "8"}, {"buffer_blocks", "1"}},
                  {{"accept_threshold", "0.9"}});
  ASSERT_NE(session.engine, nullptr);
  const std::string prompt = question(session);
  const diffulex_request_id cold = session.submit_text(prompt);
  session.run();
  const diffulex_request_id warm = session.submit_text(prompt);
  session.run();
  const auto a = session.info(cold), b = session.info(warm);
  const uint32_t aligned = a.prompt_len / 8 * 8;
  EXPECT_EQ(a.cached_len, 0u);
  EXPECT_EQ(b.cached_len, aligned);
  EXPECT_EQ(a.forwarded_tokens - b.forwarded_tokens, aligned);
  EXPECT_EQ(session.tokens(cold), session.tokens(warm));

  const std::string second = session.chat(
      {{"user", kQuestion}, {"assistant", session.text(cold)}, {"user", "Sort the list: 9, 3, 5"}});
  const diffulex_request_id turn = session.submit_text(second);
  session.run();
  const auto c = session.info(turn);
  // Everything up to the block that holds the end token was stored while the first turn was
  // decoded.
  const uint32_t stored = (a.prompt_len + a.committed_len - 1) / 8 * 8;
  EXPECT_EQ(c.cached_len, stored);

  // The same turn without any cache computes exactly the cached positions more.
  const auto params = params_of(512, DIFFULEX_REQUEST_NO_CACHE);
  const diffulex_request_id fresh = session.submit_text(second, &params);
  session.run();
  EXPECT_EQ(session.info(fresh).cached_len, 0u);
  EXPECT_EQ(session.info(fresh).forwarded_tokens - c.forwarded_tokens, stored);
  EXPECT_EQ(session.tokens(fresh), session.tokens(turn));
  EXPECT_EQ(session.stats().cached_tokens, uint64_t{aligned} + stored);
}

TEST(Engine, SaltsKeepPrefixesApart) {
  Session session(Options{{"page_size", "8"}});
  ASSERT_NE(session.engine, nullptr);
  const std::string prompt = question(session);
  auto params = params_of(100);
  params.cache_salt = "tenant a";
  session.submit_text(prompt, &params);
  session.run();
  params.cache_salt = "tenant b";
  const diffulex_request_id other = session.submit_text(prompt, &params);
  session.run();
  EXPECT_EQ(session.info(other).cached_len, 0u);
  const diffulex_request_id same = session.submit_text(prompt, &params);
  session.run();
  EXPECT_GT(session.info(same).cached_len, 0u);
}

TEST(Engine, OutputsDoNotDependOnPagesThreadsMemoryOrCompany) {
  std::set<std::vector<diffulex_token>> outputs;
  const std::vector<Options> variants = {
      {{"page_size", "8"}, {"cpu_threads", "1"}},
      {{"page_size", "16"}, {"cpu_threads", "2"}},
      {{"page_size", "64"}, {"prefix_caching", "false"}},
      {{"page_size", "8"},
       {"max_batched_tokens", "16"},
       {"max_requests", "1"}},  // prompts in small chunks
      {{"page_size", "8"}, {"max_model_len", "200"}, {"kv_bytes", "1474560"}},  // preemption
      {{"cuda_graphs", "false"}},  // on a device that has them: launches one by one
      {{"device_steps", "8"}},
      {{"device_steps", "3"}, {"page_size", "8"}, {"cuda_graphs", "false"}},
      {{"device_steps", "64"},
       {"page_size", "8"},
       {"max_model_len", "200"},
       {"kv_bytes", "1474560"}},
  };
  for (const Options& variant : variants) {
    Options options = variant;
    options.emplace_back("buffer_blocks", "2");
    Session session(options, {{"accept_threshold", "0.9"}},
                    [](auto& config) { config.weight_dtype = DIFFULEX_DTYPE_F32; });
    ASSERT_NE(session.engine, nullptr) << session.failure.message;
    const auto params = params_of(100);
    std::vector<diffulex_request_id> ids;
    for (int i = 0; i < 6; ++i) ids.push_back(session.submit_text(question(session), &params));
    session.run();
    for (const diffulex_request_id id : ids) outputs.insert(session.tokens(id));
  }
  EXPECT_EQ(outputs.size(), 1u);
}

// What some requests of one engine show in the end, and how many calls that took.
struct Decoded {
  std::vector<std::vector<diffulex_token>> tokens;
  std::vector<diffulex_finish> finish;
  std::vector<uint32_t> steps, denoise_steps, forwarded;
  uint64_t engine_steps = 0, calls = 0;
};

Decoded decode_with(const char* device_steps, const char* buffer_blocks, const char* strategy) {
  Session session(Options{{"device_steps", device_steps}, {"buffer_blocks", buffer_blocks}},
                  {{"accept_threshold", "1"}}, [&](auto& config) {
                    config.weight_dtype = DIFFULEX_DTYPE_F32;
                    config.strategy = strategy;
                  });
  EXPECT_NE(session.engine, nullptr) << session.failure.message;
  std::vector<diffulex_request_id> ids;
  for (int i = 0; i < 3; ++i) {
    auto params = params_of(40 + static_cast<uint32_t>(i) * 11, DIFFULEX_REQUEST_IGNORE_EOS);
    params.max_steps = i == 1 ? 9 : 0;
    params.max_repetition_run = i == 2 ? 3 : 0;
    params.temperature = i == 0 ? 0.8f : 0;
    params.seed = 5;
    const std::string prompt = question(session) + std::string(static_cast<size_t>(i), 'a');
    ids.push_back(session.submit_text(prompt, &params));
  }
  const auto until_eos = params_of(100);
  ids.push_back(session.submit_text(question(session), &until_eos));
  Decoded decoded;
  while (diffulex_engine_step(session.engine, nullptr) == DIFFULEX_OK) ++decoded.calls;
  for (const diffulex_request_id id : ids) {
    const diffulex_request_info info = session.info(id);
    decoded.tokens.push_back(session.tokens(id));
    decoded.finish.push_back(info.finish);
    decoded.steps.push_back(info.steps);
    decoded.denoise_steps.push_back(info.denoise_steps);
    decoded.forwarded.push_back(info.forwarded_tokens);
  }
  decoded.engine_steps = session.stats().steps;
  EXPECT_EQ(session.stats().kv_pages_free, session.stats().kv_pages_total);
  return decoded;
}

TEST(Engine, OutputsDoNotDependOnDeviceSteps) {
  for (const char* strategy : {"multi_bd", "d2f"})
    for (const char* buffer_blocks : {"1", "2", "4"}) {
      const Decoded one = decode_with("1", buffer_blocks, strategy);
      EXPECT_EQ(one.calls, one.engine_steps);
      for (const char* device_steps : {"2", "8"}) {
        SCOPED_TRACE(std::string(strategy) + ", " + buffer_blocks + " blocks, " + device_steps);
        const Decoded many = decode_with(device_steps, buffer_blocks, strategy);
        EXPECT_EQ(many.tokens, one.tokens);
        EXPECT_EQ(many.finish, one.finish);
        EXPECT_EQ(many.steps, one.steps);
        EXPECT_EQ(many.denoise_steps, one.denoise_steps);
        EXPECT_EQ(many.forwarded, one.forwarded);
        EXPECT_EQ(many.engine_steps, one.engine_steps);
        EXPECT_LT(many.calls, one.calls * 3 / 4);
      }
    }
}

TEST(Engine, SeedsReproduceSampledOutputs) {
  const auto run = [](uint64_t seed, int company) {
    Session session(Options{{"buffer_blocks", "2"}}, {{"accept_threshold", "0"}},
                    [](auto& config) { config.weight_dtype = DIFFULEX_DTYPE_F32; });
    auto params = params_of(60);
    params.temperature = 8.0f;
    params.top_k = 50;
    params.top_p = 0.999f;
    params.seed = seed;
    for (int i = 0; i < company; ++i) session.submit({1021, 304, 198, 500});
    const diffulex_request_id id = session.submit_text(question(session), &params);
    session.run();
    return session.tokens(id);
  };
  EXPECT_EQ(run(1, 0), run(1, 3));
  EXPECT_NE(run(1, 0), run(2, 0));
}

TEST(Engine, AbortKeepsWhatWasCommitted) {
  Session session;
  ASSERT_NE(session.engine, nullptr);
  const auto params = params_of(300, DIFFULEX_REQUEST_IGNORE_EOS);
  const diffulex_request_id id = session.submit_text(question(session), &params);
  for (int i = 0; i < 8; ++i) ASSERT_EQ(diffulex_engine_step(session.engine, nullptr), DIFFULEX_OK);
  const auto tokens = session.tokens(id);
  EXPECT_FALSE(tokens.empty());
  EXPECT_EQ(diffulex_request_abort(session.engine, id), DIFFULEX_OK);
  EXPECT_EQ(diffulex_request_abort(session.engine, id), DIFFULEX_OK);
  EXPECT_EQ(diffulex_engine_step(session.engine, nullptr), DIFFULEX_S_IDLE);
  EXPECT_EQ(session.info(id).finish, DIFFULEX_FINISH_ABORTED);
  EXPECT_EQ(session.tokens(id), tokens);
  EXPECT_EQ(session.stats().kv_pages_free, session.stats().kv_pages_total);
  EXPECT_EQ(diffulex_request_release(session.engine, id), DIFFULEX_OK);
  EXPECT_EQ(diffulex_request_release(session.engine, id), DIFFULEX_E_NOT_FOUND);
  diffulex_request_info info{};
  info.struct_size = sizeof(info);
  EXPECT_EQ(diffulex_request_get_info(session.engine, id, &info, nullptr), DIFFULEX_E_NOT_FOUND);
  EXPECT_NE(session.submit_text(question(session)), id);  // ids are never used again
}

TEST(Engine, AbortTellsAFinalEvent) {
  Session session;
  ASSERT_NE(session.engine, nullptr);
  const diffulex_request_id id = session.submit_text(question(session));
  ASSERT_EQ(diffulex_engine_step(session.engine, nullptr), DIFFULEX_OK);
  session.events();
  EXPECT_EQ(diffulex_request_abort(session.engine, id), DIFFULEX_OK);
  EXPECT_EQ(diffulex_engine_step(session.engine, nullptr), DIFFULEX_S_IDLE);
  const auto events = session.events();
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].type, DIFFULEX_EVENT_FINISHED);
  EXPECT_EQ(events[0].request, id);
  EXPECT_EQ(events[0].finish, DIFFULEX_FINISH_ABORTED);
}

// Masks are no output, rows of a window no prompt, and a wait in the queue is a wait.
TEST(Engine, CountersSayWhatHappened) {
  Session session(Options{{"buffer_blocks", "4"}, {"max_requests", "1"}},
                  {{"accept_threshold", "0.9"}});
  ASSERT_NE(session.engine, nullptr);
  const auto params = params_of(100, DIFFULEX_REQUEST_NO_CACHE);
  const diffulex_request_id first = session.submit_text(question(session), &params);
  const diffulex_request_id second = session.submit_text(question(session), &params);
  session.run();
  const auto stats = session.stats();
  EXPECT_EQ(stats.committed_tokens, 2 * session.tokens(first).size());
  EXPECT_EQ(stats.prefill_tokens, uint64_t{2} * (session.info(first).prompt_len / 8 * 8));
  EXPECT_EQ(stats.forwarded_tokens,
            session.info(first).forwarded_tokens + session.info(second).forwarded_tokens);
  EXPECT_LE(session.info(second).queued_ns, session.info(first).first_commit_ns);
  EXPECT_LE(session.info(first).end_ns, session.info(second).prefill_ns);
}

TEST(Engine, ThreadModeServesManyThreads) {
  Session session(Options{{"buffer_blocks", "2"}}, {{"accept_threshold", "0.9"}},
                  [](auto& config) { config.run_mode = DIFFULEX_RUN_THREAD; });
  ASSERT_NE(session.engine, nullptr);
  EXPECT_EQ(diffulex_engine_step(session.engine, nullptr), DIFFULEX_E_INVALID_STATE);
  ASSERT_EQ(diffulex_engine_start(session.engine, nullptr), DIFFULEX_OK);
  EXPECT_EQ(diffulex_engine_start(session.engine, nullptr), DIFFULEX_E_INVALID_STATE);
  const std::string prompt = question(session);
  constexpr int kThreads = 4, kEach = 5;
  std::atomic<int> finished{0};
  std::thread pump([&] {
    while (finished < kThreads * kEach)
      for (const diffulex_event& event : session.events(100))
        finished += event.type == DIFFULEX_EVENT_FINISHED ? 1 : 0;
  });
  std::vector<std::thread> clients;
  std::vector<std::vector<diffulex_request_id>> ids(kThreads);
  for (int t = 0; t < kThreads; ++t)
    clients.emplace_back([&, t] {
      for (int i = 0; i < kEach; ++i) {
        diffulex_request_id id = 0;
        EXPECT_EQ(diffulex_request_submit_text(session.engine, prompt.data(), prompt.size(),
                                               nullptr, &id, nullptr),
                  DIFFULEX_OK);
        ids[static_cast<size_t>(t)].push_back(id);
        diffulex_request_info info{};
        info.struct_size = sizeof(info);
        EXPECT_EQ(diffulex_request_get_info(session.engine, id, &info, nullptr), DIFFULEX_OK);
      }
    });
  for (std::thread& client : clients) client.join();
  pump.join();
  for (const auto& list : ids)
    for (const diffulex_request_id id : list) EXPECT_EQ(session.text(id), kAnswer);
  EXPECT_EQ(diffulex_engine_stop(session.engine, 1, nullptr), DIFFULEX_OK);
  EXPECT_EQ(diffulex_engine_stop(session.engine, 1, nullptr), DIFFULEX_E_INVALID_STATE);
  // It can be started again, and stopped in the middle of the work.
  ASSERT_EQ(diffulex_engine_start(session.engine, nullptr), DIFFULEX_OK);
  const auto params = params_of(1500, DIFFULEX_REQUEST_IGNORE_EOS);
  const diffulex_request_id id = session.submit_text(prompt, &params);
  EXPECT_EQ(diffulex_engine_stop(session.engine, 0, nullptr), DIFFULEX_OK);
  EXPECT_EQ(session.info(id).finish, DIFFULEX_FINISH_ABORTED);
}

TEST(Engine, InterruptWakesAWaiter) {
  Session session;
  ASSERT_NE(session.engine, nullptr);
  std::atomic<bool> waiting{false}, woken{false};
  std::thread waiter([&] {
    diffulex_event event;
    size_t count = 0;
    waiting = true;
    EXPECT_EQ(diffulex_engine_wait(session.engine, &event, sizeof(event), 1, &count, -1, nullptr),
              DIFFULEX_S_TIMEOUT);
    woken = true;
  });
  while (!waiting) std::this_thread::yield();
  while (!woken) {
    diffulex_engine_interrupt(session.engine);
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  waiter.join();
}

TEST(Engine, TwoEnginesInOneProcess) {
  Session a(Options{{"buffer_blocks", "1"}}, {{"accept_threshold", "0.9"}}),
      b(Options{{"buffer_blocks", "4"}}, {{"accept_threshold", "0.9"}});
  ASSERT_NE(a.engine, nullptr);
  ASSERT_NE(b.engine, nullptr);
  const diffulex_request_id ia = a.submit_text(question(a)), ib = b.submit_text(question(b));
  std::thread other([&] { b.run(); });
  a.run();
  other.join();
  EXPECT_EQ(a.text(ia), kAnswer);
  EXPECT_EQ(b.text(ib), kAnswer);
}

TEST(Engine, StepsAreRemembered) {
  Session session(Options{{"step_log_capacity", "4"}});
  ASSERT_NE(session.engine, nullptr);
  session.submit_text(question(session));
  session.run();
  const auto stats = session.stats();
  std::vector<diffulex_step_stats> steps(16);
  size_t count = 0;
  ASSERT_EQ(diffulex_engine_read_steps(session.engine, 0, steps.data(), sizeof(steps[0]),
                                       steps.size(), &count, nullptr),
            DIFFULEX_OK);
  ASSERT_EQ(count, 4u);
  EXPECT_EQ(steps[3].step + 1, stats.steps);
  for (size_t i = 0; i < count; ++i) {
    EXPECT_EQ(steps[i].step, stats.steps - 4 + i);
    EXPECT_GT(steps[i].rows, 0u);
    EXPECT_LE(steps[i].forward_ns, steps[i].duration_ns);
  }
}

}  // namespace
}  // namespace diffulex_tests
