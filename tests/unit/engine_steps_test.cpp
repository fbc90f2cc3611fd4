// An engine that runs steps behind one another shows the outside the same as one that schedules
// each: tokens, events, steps, the cache; and it cuts in when something comes up.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <thread>

#include "base/system.h"
#include "faulty_engine.h"

namespace diffulex::testing {
namespace {

constexpr int kDeviceSteps[] = {1, 2, 3, 8, 64};

// An event without its time.
struct Told {
  diffulex_event_type type;
  uint64_t request, step;
  uint32_t committed_len, committed_delta, tentative_end, block_index;
  diffulex_finish finish;
  diffulex_status status;
  bool operator==(const Told&) const = default;
};

std::ostream& operator<<(std::ostream& out, const Told& e) {
  return out << "type " << e.type << " of " << e.request << " in " << e.step << ", "
             << e.committed_len << "+" << e.committed_delta << ".." << e.tentative_end << ", block "
             << e.block_index << ", finish " << e.finish << "\n";
}

struct Account {  // of a step, without its times
  uint64_t step;
  uint32_t requests, rows, prefill, active, committed, revealed;
  bool operator==(const Account&) const = default;
};

struct CachePage {
  uint64_t hash, parent, last_step;
  bool operator==(const CachePage&) const = default;
};

struct Slots {  // what a request shows of its canvas in the end
  std::vector<int32_t> tokens;
  std::vector<float> confidences;
  std::vector<uint32_t> block_steps;
  bool operator==(const Slots&) const = default;
};

struct Story {
  std::vector<EngineOutcome> outcomes;
  std::vector<uint32_t> denoise_steps, forwarded;
  std::vector<Slots> canvas;
  std::vector<std::string> texts;
  std::vector<Told> events;
  std::vector<Account> steps;
  std::vector<CachePage> pages;
  size_t calls = 0;  // of Engine::step()
};

void take_events(Engine& engine, std::vector<Told>& out) {
  const auto take = [&](size_t, const diffulex_event& e) {
    out.push_back({e.type, e.request, e.step, e.committed_len, e.committed_delta, e.tentative_end,
                   e.block_index, e.finish, e.status});
  };
  while (engine.events().wait(64, 0, take) > 0) {
  }
}

void tell_end(Engine& engine, const std::vector<uint64_t>& ids, Story& story) {
  for (const uint64_t id : ids) {
    story.outcomes.push_back(outcome(engine, id));
    const auto record = engine.find(id);
    const std::lock_guard lock(record->mutex);
    story.denoise_steps.push_back(record->info.denoise_steps);
    story.forwarded.push_back(record->info.forwarded_tokens);
    story.texts.push_back(record->text.substr(0, record->text_end));
    Slots slots;
    for (const diffulex_slot& s : record->slots) {
      slots.tokens.push_back(s.token);
      slots.confidences.push_back(s.confidence);
    }
    for (const diffulex_block& b : record->blocks) slots.block_steps.push_back(b.steps);
    story.canvas.push_back(std::move(slots));
  }
  engine.step_log().read(0, 10000, [&](size_t, const diffulex_step_stats& s) {
    story.steps.push_back({s.step, s.requests, s.rows, s.prefill_tokens, s.active_blocks,
                           s.committed_tokens, s.revealed_slots});
    EXPECT_LE(s.forward_ns, s.duration_ns);
  });
  for (size_t i = 1; i < story.steps.size(); ++i) EXPECT_EQ(story.steps[i].step, i);
  engine.with_cache([&](const KvCacheManager& cache) {
    for (PageId page = 0; page < cache.total_pages(); ++page)
      if (cache.findable(page)) {
        const PrefixIndex::Facts facts = cache.facts(page);
        story.pages.push_back({facts.hash, facts.parent, facts.last_used});
      }
  });
  std::ranges::sort(story.pages, {},
                    [](const CachePage& p) { return std::pair(p.hash, p.parent); });
  EXPECT_EQ(engine.stats().kv_pages_free, engine.stats().kv_pages_total);
}

using Submit = std::function<std::vector<uint64_t>(Engine&)>;

// Events are taken between any two steps: later they would be merged.
Story tell(const char* strategy, int device_steps, const Submit& submit_all) {
  Fault fault;
  const auto engine = make_engine(&fault, strategy, DIFFULEX_RUN_MANUAL, device_steps);
  Story story;
  fault.before = [&](uint64_t) { take_events(*engine, story.events); };
  const std::vector<uint64_t> ids = submit_all(*engine);
  while (engine->step()) ++story.calls;
  take_events(*engine, story.events);
  tell_end(*engine, ids, story);
  return story;
}

void expect_same_story(const char* strategy, const Submit& submit_all) {
  Story expected;
  for (const int device_steps : kDeviceSteps) {
    SCOPED_TRACE(std::string(strategy) + ", device_steps " + std::to_string(device_steps));
    const Story story = tell(strategy, device_steps, submit_all);
    if (device_steps == 1) expected = story;
    EXPECT_EQ(story.outcomes, expected.outcomes);
    EXPECT_EQ(story.denoise_steps, expected.denoise_steps);
    EXPECT_EQ(story.forwarded, expected.forwarded);
    EXPECT_EQ(story.texts, expected.texts);
    EXPECT_EQ(story.canvas, expected.canvas);
    EXPECT_EQ(story.events, expected.events);
    EXPECT_EQ(story.steps, expected.steps);
    EXPECT_EQ(story.pages, expected.pages);
    if (device_steps == 1)
      EXPECT_EQ(story.calls, story.steps.size());
    else
      EXPECT_LT(story.calls, expected.calls);
  }
}

std::vector<uint64_t> submit_many(Engine& engine) {
  return {submit(engine, 100),
          submit(engine, 201, 43),
          submit(engine, 303, 31, [](auto& p) { p.flags |= DIFFULEX_REQUEST_TRACK_SLOTS; }),
          submit(engine, 404, 60, [](auto& p) { p.temperature = 0; }),
          submit(engine, 505, 60, [](auto& p) { p.max_steps = 7; }),
          submit(engine, 100, 60, [](auto& p) { p.temperature = 0, p.max_repetition_run = 2; }),
          submit(engine, 606, 60, [](auto& p) { p.flags = 0, p.temperature = 0; })};
}

TEST(DeviceSteps, NothingShows) {
  for (const char* strategy : {"multi_bd", "d2f"}) expect_same_story(strategy, submit_many);
}

// What the host alone can do for a request: its lists of logits, its sorting, its text.
TEST(DeviceSteps, NothingShowsWhereTheHostIsNeeded) {
  static const diffulex_logit_bias bias[] = {{300, 2.0f}};
  const Tune tunes[] = {[](auto& p) { p.repetition_penalty = 1.3f; },
                        [](auto& p) { p.logit_bias = bias, p.logit_bias_count = 1; },
                        [](auto& p) { p.top_k = 5; }};
  for (const Tune& tune : tunes) {
    const auto with = [&](int device_steps) {
      return tell("multi_bd", device_steps, [&](Engine& engine) {
        return std::vector{submit(engine, 100, 30), submit(engine, 200, 30, tune)};
      });
    };
    const Story one = with(1), eight = with(8);
    EXPECT_EQ(one.outcomes, eight.outcomes);
    EXPECT_EQ(one.steps, eight.steps);
    EXPECT_EQ(one.events, eight.events);
    EXPECT_EQ(eight.outcomes[1].finish, DIFFULEX_FINISH_MAX_TOKENS);
    EXPECT_LE(eight.calls, one.calls);
  }
}

// The backend has gone on with the request that the host ends.
TEST(DeviceSteps, AStopStringEndsARequestThatWentOn) {
  const auto greedy = [](auto& p) { p.temperature = 0; };
  const auto text_of = [&](const char* stop) {
    const char* const strings[] = {stop};
    return tell("multi_bd", 1,
                [&](Engine& engine) {
                  return std::vector{submit(engine, 404, 60, [&](auto& p) {
                    greedy(p);
                    p.stop_strings = strings;
                    p.stop_string_count = 1;
                  })};
                })
        .texts[0];
  };
  const std::string text = text_of("never to be seen");
  ASSERT_GT(text.size(), 12u);
  for (size_t at = text.size() / 4; at + 3 < text.size(); at += text.size() / 4) {
    const std::string stop = text.substr(at, 3);
    const auto plain = [](char c) { return static_cast<unsigned char>(c) < 0x80; };
    if (!std::ranges::all_of(stop, plain)) continue;
    const char* const strings[] = {stop.c_str()};
    expect_same_story("multi_bd", [&](Engine& engine) {
      return std::vector{submit(engine, 404, 60,
                                [&](auto& p) {
                                  greedy(p);
                                  p.stop_strings = strings;
                                  p.stop_string_count = 1;
                                }),
                         submit(engine, 201, 43)};
    });
  }
}

// With eight steps ahead, at most two more follow what comes up in one: the one that was under way,
// and the one that was asked for.
TEST(DeviceSteps, CommandsCutIn) {
  const std::vector<int32_t> whole =
      tell("multi_bd", 1, [](Engine& engine) { return std::vector{submit(engine, 100, 60)}; })
          .outcomes[0]
          .output;
  enum class Event { kSubmit, kAbort, kDeadline };
  for (const Event event : {Event::kSubmit, Event::kAbort, Event::kDeadline}) {
    Fault fault;
    const auto engine = make_engine(&fault, "multi_bd", DIFFULEX_RUN_MANUAL, 64);
    const uint64_t id = submit(*engine, 100, 60, [&](auto& p) {
      if (event == Event::kDeadline) p.deadline_ms = 400;
    });
    uint64_t last = 0, other = 0;
    fault.before = [&](uint64_t step) {
      last = step;
      if (step != 4) return;
      if (event == Event::kSubmit) other = submit(*engine, 300);
      if (event == Event::kAbort) engine->abort(engine->find(id));
      if (event == Event::kDeadline) std::this_thread::sleep_for(std::chrono::milliseconds(500));
    };
    for (int calls = 0; last < 4; ++calls) {
      ASSERT_LT(calls, 4);
      ASSERT_TRUE(engine->step());
    }
    EXPECT_GE(last, 4u);
    EXPECT_LE(last, 6u);
    EXPECT_EQ(outcome(*engine, id).finish, DIFFULEX_FINISH_NONE);
    fault.before = nullptr;
    run(*engine);
    const EngineOutcome ended = outcome(*engine, id);
    if (event == Event::kSubmit) {
      EXPECT_EQ(ended.output, whole);
      EXPECT_EQ(outcome(*engine, other).finish, DIFFULEX_FINISH_MAX_TOKENS);
    } else {
      EXPECT_EQ(ended.finish,
                event == Event::kAbort ? DIFFULEX_FINISH_ABORTED : DIFFULEX_FINISH_DEADLINE);
      EXPECT_LT(ended.output.size(), whole.size());
      EXPECT_TRUE(std::equal(ended.output.begin(), ended.output.end(), whole.begin()));
    }
    EXPECT_EQ(engine->stats().kv_pages_free, engine->stats().kv_pages_total);
  }
}

// Stopped while steps follow one another: the thread ends soon, and what runs is aborted.
TEST(DeviceSteps, TheEnginesThreadStops) {
  Fault fault;
  std::atomic<uint64_t> seen{0}, stopped{0};
  fault.before = [&](uint64_t step) {
    seen = step;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  };
  const auto engine = make_engine(&fault, "multi_bd", DIFFULEX_RUN_THREAD, 64);
  const uint64_t id = submit(*engine, 100, 90);
  engine->start();
  while (seen < 4) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  engine->stop(false);
  EXPECT_LT(seen, 20u);
  EXPECT_EQ(outcome(*engine, id).finish, DIFFULEX_FINISH_ABORTED);
}

}  // namespace
}  // namespace diffulex::testing
