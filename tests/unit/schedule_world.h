// A random world for the engine's parts: sizes, a strategy, requests that share prompts and take up
// each other's answers, and everything that can happen to them between two steps. The shadow cache
// behind ScriptedBackend checks every read; this checks the invariants of blocks, queues and pages
// around every step, and every output against the one that the request has alone.
#pragma once

#include <algorithm>
#include <map>
#include <random>
#include <set>
#include <string>

#include "engine/stop_strings.h"
#include "step_harness.h"
#include "text/tokenizer.h"

namespace diffulex::testing {

inline uint64_t mix(uint64_t x) {
  x ^= x >> 31;
  x *= 0x9E3779B97F4A7C15u;
  return x ^ (x >> 29);
}

// What a model would say depends on the request's tokens only through its seed and the position, so
// that the expected output is known; how sure it is depends on how often it was asked, so that
// blocks fill in many orders.
inline decide::Pick world_pick(uint64_t, const RequestRow& row, int32_t position) {
  const uint64_t h = mix(row.sampler.seed * 1000 + static_cast<uint64_t>(position));
  const bool end = h % 61 == 0;
  const uint64_t words = row.sampler.seed == 3 ? 3 : 500;  // few words repeat themselves
  const auto token = static_cast<int32_t>(end ? static_cast<uint64_t>(kEosToken) : h % words);
  const bool sure = mix(h + static_cast<uint64_t>(row.window.denoise_forwards)) % 3 != 0;
  return {token, sure ? 0.95f : 0.2f + static_cast<float>(h % 7) * 0.01f, 0};
}

struct WorldCounts {
  uint64_t requests = 0, finished = 0, preemptions = 0, hits = 0, late = 0, repetitions = 0,
           stop_strings = 0, stops = 0, aborted = 0, undone = 0, turns = 0, carried = 0, cut = 0,
           followed = 0, refused = 0;
  void operator+=(const WorldCounts& o) {
    requests += o.requests, finished += o.finished, preemptions += o.preemptions, hits += o.hits;
    late += o.late, repetitions += o.repetitions, stop_strings += o.stop_strings, stops += o.stops;
    followed += o.followed, refused += o.refused;
    aborted += o.aborted, undone += o.undone, turns += o.turns, carried += o.carried, cut += o.cut;
  }
};

class ScheduleWorld {
 public:
  explicit ScheduleWorld(uint64_t seed)
      : rng_(seed),
        kind_(kKinds[below(std::size(kKinds))]),
        shape_(draw_shape()),
        h_(shape_, world_pick, kind_.strategy) {
    h_.hooks.on_schedule = [this](const Schedule& schedule) { check_schedule(schedule); };
    h_.hooks.on_result = [this](const Schedule& schedule) { check_result(schedule); };
    h_.hooks.go_on = [this] { return below(8) != 0; };
    h_.hooks.fails = [this] {
      const bool fails = below(40) == 0;
      counts.refused += fails ? 1 : 0;
      return fails;
    };
  }

  // Lives until every request has ended. Failures are gtest's.
  void run() {
    const int count = 4 + below(10);
    for (int guard = 0; guard < 6000; ++guard) {
      if (counts.requests < static_cast<uint64_t>(count) && below(2) == 0) submit();
      disturb();
      const bool worked = h_.step();
      check_spare_pages();
      for (const Request* r : live_)
        if (r->phase != Phase::kFinished) check_request(*r);
      std::erase_if(live_, [](const Request* r) { return r->phase == Phase::kFinished; });
      check_pages();
      if (::testing::Test::HasFatalFailure()) return;
      if (!worked && counts.requests == static_cast<uint64_t>(count)) break;
    }
    check_end();
  }

  WorldCounts counts;

 private:
  struct Kind {
    const char *strategy, *family;
  };
  static constexpr Kind kKinds[] = {{"multi_bd", "sdar"},
                                    {"multi_bd", "dream"},
                                    {"multi_bd", "stable_diffcoder"},
                                    {"d2f", "llada"},
                                    {"d2f", "dream"}};
  struct Expected {
    std::vector<int32_t> output;
    int32_t finish = 0;
  };
  struct Seen {  // of a request after its last step
    std::vector<int32_t> tokens;
    int32_t committed_end = 0;
  };

  int32_t below(uint64_t n) { return static_cast<int32_t>(rng_() % n); }

  EngineShape draw_shape() {
    const int b = 4, ps = b << below(3), buffer = 1 + below(6), most = 1 + below(5);
    EngineShape shape = small_shape(b, buffer, ps, 0, most);
    const int one = (shape.max_model_len + ps - 1) / ps;
    shape.kv_pages = one + below(2) * below(static_cast<uint64_t>(one) * 3);
    shape.max_batched_tokens = most * b * buffer + below(3) * 8;
    const bool whole = std::string_view(kind_.strategy) == "d2f";
    if (whole) shape.max_batched_tokens = std::max(shape.max_batched_tokens, 64 + below(2) * 40);
    shape.prefix_caching = !whole && below(2) == 0;
    shape.device_steps = below(3) == 0 ? 1 : 2 + below(9);
    return shape;
  }

  static const std::shared_ptr<const text::Tokenizer>& tokenizer() {
    static const auto loaded =
        text::Tokenizer::load(std::string(DIFFULEX_MODELS_DIR) + "/tiny-sdar");
    return loaded;
  }

  std::vector<int32_t> draw_prompt(uint64_t seed) {
    if (!h_.finished.empty() && below(4) == 0) {  // another turn of a conversation
      const Request& last = *h_.finished[static_cast<size_t>(below(h_.finished.size()))];
      const auto tokens = last.tokens();
      std::vector<int32_t> prompt(tokens.begin(), tokens.begin() + last.window.committed_end);
      for (int i = below(4); i-- > 0;) prompt.push_back(below(500));
      if (prompt.size() < 56) {
        ++counts.turns;
        return prompt;
      }
    }
    std::vector<int32_t> prompt;
    const int32_t length = 1 + below(30);
    for (int32_t i = 0; i < length; ++i)
      prompt.push_back(static_cast<int32_t>(mix(seed + static_cast<uint64_t>(i)) % 500));
    return prompt;
  }

  Expected expected_of(uint64_t seed, const RequestSpec& spec) {
    Expected expected{{}, spec.limit_reason};
    RequestRow row{};
    row.sampler.seed = seed;
    int run = 0;
    for (auto p = static_cast<int32_t>(spec.prompt.size()); p < spec.limit; ++p) {
      const int32_t token = world_pick(0, row, p).token;
      run = !expected.output.empty() && expected.output.back() == token ? run + 1 : 1;
      expected.output.push_back(token);
      if (token == kEosToken) return {expected.output, decide::kEos};
      if (run == spec.blocks.max_repetition_run) return {expected.output, decide::kRepetition};
    }
    return expected;
  }

  // A piece of the expected text; the output ends with the token that completes its first
  // occurrence.
  void add_stop_string(RequestSpec& spec, Expected& expected) {
    text::Detokenizer whole(tokenizer(), false);
    const std::string text = whole.push(expected.output);
    if (text.empty()) return;
    const auto at = static_cast<size_t>(below(text.size()));
    const std::string stop = text.substr(at, 1 + static_cast<size_t>(below(4)));
    const auto plain = [](char c) { return static_cast<unsigned char>(c) < 0x80; };
    if (!std::all_of(stop.begin(), stop.end(), plain)) return;
    spec.stop_strings = {stop, "never to be seen"};
    text::Detokenizer pieces(tokenizer(), false);
    std::string seen;
    for (size_t i = 0; i < expected.output.size(); ++i) {
      seen += pieces.push(std::span(expected.output).subspan(i, 1));
      if (seen.find(stop) == std::string::npos) continue;
      expected.output.resize(i + 1);
      expected.finish = decide::kStopString;
      return;
    }
  }

  void submit() {
    const uint64_t seed = 1 + static_cast<uint64_t>(below(3));  // few seeds: prompts are shared
    RequestSpec spec =
        make_spec(shape_, draw_prompt(seed), 1 + below(60), kind_.strategy, kind_.family);
    spec.sampler.seed = seed;
    spec.priority = below(4) == 0 ? below(5) - 2 : 0;
    spec.deadline_ns = below(8) == 0 ? h_.steps + 1 + static_cast<uint64_t>(below(20)) : 0;
    spec.max_forwards = below(12) == 0 ? 1 + below(30) : 0;
    spec.blocks.max_repetition_run = below(2) == 0 ? 2 + below(3) : 0;
    Expected expected = expected_of(seed, spec);
    if (below(5) == 0) add_stop_string(spec, expected);
    const std::vector<int32_t> prompt = spec.prompt;
    Request* r = h_.add(std::move(spec));
    r->record->detokenizer = std::make_unique<text::Detokenizer>(tokenizer(), false);
    expected_[r->id] = std::move(expected);
    seen_[r->id] = {prompt, static_cast<int32_t>(prompt.size())};
    valid_before_[r->id] = r->window.valid;
    live_.push_back(r);
    ++counts.requests;
  }

  // What happens between two steps.
  void disturb() {
    struct Access : Scheduler {
      using Scheduler::preempt;
    };
    while (auto r = h_.scheduler->remove_late(h_.steps)) {  // the clock counts steps
      r->cut_short(decide::kDeadline);
      end_at_stop_string(*r);
      h_.finished.push_back(std::move(r));
      ++counts.late;
    }
    const size_t running = h_.scheduler->running_count();
    if (running > 0 && below(25) == 0) {
      (h_.scheduler.get()->*&Access::preempt)(static_cast<size_t>(below(running)));
      ++h_.preemptions;
    }
    if (!live_.empty() && below(60) == 0) abort_one();
    if (below(30) == 0) fail_a_step();
    if (below(20) == 0) use_cache();
  }

  void abort_one() {
    const auto at = live_.begin() + below(live_.size());
    if ((*at)->phase == Phase::kFinished) return;
    expected_.erase((*at)->id);
    h_.scheduler->remove((*at)->id);
    live_.erase(at);
    ++counts.aborted;
  }

  // A step that was planned and did not happen leaves every request as it was.
  void fail_a_step() {
    std::map<uint64_t, decide::Window> before;
    for (const Request* r : live_)
      if (r->phase != Phase::kFinished) before[r->id] = r->window;
    h_.preemptions += h_.scheduler->schedule().preempted.size();
    h_.scheduler->undo();
    for (const Request* r : live_)
      if (r->phase != Phase::kFinished) {
        ASSERT_EQ(std::memcmp(&before[r->id], &r->window, sizeof(decide::Window)), 0);
      }
    ++counts.undone;
  }

  void use_cache() {
    KvCacheManager& cache = *h_.cache;
    const std::vector<int32_t> prompt = draw_prompt(1 + static_cast<uint64_t>(below(3)));
    const int32_t free = cache.free_pages();
    const int32_t matched = cache.match(prompt, ChainLink{});
    ASSERT_EQ(cache.free_pages(), free);
    ASSERT_LE(matched, static_cast<int32_t>(prompt.size()));
    if (below(4) == 0) {
      cache.clear();
      cleared_ = true;  // who shares a page goes on sharing it
    }
    if (!pins_.empty() && below(2) == 0) {
      ASSERT_TRUE(cache.unpin(pins_.back()));
      pins_.pop_back();
    }
    int32_t positions = 0;
    try {
      const int32_t keep = cache.pages_for(shape_.max_model_len);
      const uint64_t pin = cache.pin(prompt, ChainLink{}, keep, &positions);
      if (pin != 0) pins_.push_back(pin);
    } catch (const std::exception&) {  // too few pages: nothing was pinned
    }
  }

  // Before a forward.
  void check_schedule(const Schedule& schedule) {
    const KvCacheManager& cache = *h_.cache;
    int32_t rows = 0;
    std::set<int32_t> slots;
    before_.clear();
    for (const ScheduledRequest& s : schedule.rows) {
      before_.push_back(s.request != nullptr ? s.request->window : decide::Window{});
      if (s.request == nullptr) continue;
      const Request& r = *s.request;
      rows += s.rows;
      ASSERT_EQ(r.phase, Phase::kRunning);
      ASSERT_TRUE(slots.insert(r.slot).second) << "two requests in one resident row";
      const int32_t needed = cache.pages_for(r.window.left + r.to_cache_blocks() * r.block_size());
      const auto owned = static_cast<int32_t>(r.pages.pages.size());
      ASSERT_GE(owned, needed);
      if (shape_.device_steps == 1) {
        ASSERT_EQ(owned, needed);
      }
      if (s.window_offset >= 0) {
        ASSERT_EQ(s.window_offset + r.cached, r.window.left);
        ASSERT_LE(r.window.valid, valid_before_[r.id] + 1);
      }
      for (int32_t p = r.cached; p < r.cached + s.store_len; ++p) {
        const PageId page = r.pages.pages[static_cast<size_t>(p / shape_.page_size)];
        ASSERT_EQ(cache.references(page), 1) << "a shared page is written";
        ASSERT_FALSE(cache.findable(page)) << "a page is written after it became findable";
      }
    }
    ASSERT_LE(rows, shape_.max_batched_tokens);
    ASSERT_LE(h_.scheduler->running_count(), static_cast<size_t>(shape_.max_requests));
  }

  // After a forward: it counted, and it got somewhere.
  void check_result(const Schedule& schedule) {
    if (::testing::Test::HasFatalFailure()) return;
    for (size_t i = 0; i < schedule.rows.size(); ++i) {
      if (schedule.rows[i].request == nullptr) continue;
      Request& r = *schedule.rows[i].request;
      valid_before_[r.id] = r.window.valid;
      const decide::Window &was = before_[i], &is = r.window;
      ASSERT_EQ(is.forwards, was.forwards + 1);
      if (schedule.rows[i].window_offset >= 0) {
        // A block behind a closed gate may wait; the first one never does.
        const bool first_filled =
            is.revealed > 0 || is.left != was.left || is.blocks[0].status != was.blocks[0].status;
        ASSERT_TRUE(first_filled) << "a forward without any progress";
      }
      end_at_stop_string(r);
    }
  }

  // Invariants of one request between steps.
  void check_request(const Request& r) {
    const auto& w = r.window;
    const int32_t b = r.block_size();
    ASSERT_EQ(w.left % b, 0);
    ASSERT_LE(r.cached, w.left);
    ASSERT_EQ(r.tokens().size(), static_cast<size_t>(w.left) + r.window_size());
    int stage = 0;  // T* A* D*
    for (int i = 0; i < r.spec.blocks.buffer_blocks; ++i) {
      const int rank = w.blocks[i].status == decide::kToCache  ? 0
                       : w.blocks[i].status == decide::kActive ? 1
                                                               : 2;
      ASSERT_NE(w.blocks[i].status, decide::kInCache);
      ASSERT_GE(rank, stage);
      stage = rank;
      ASSERT_EQ(rank != 2, i < w.valid);
      if (w.first_stop >= 0 && rank == 2) continue;
      int32_t masks = 0;
      for (int32_t p = w.left + i * b; p < std::min(w.left + (i + 1) * b, w.limit); ++p)
        masks += r.tokens()[static_cast<size_t>(p)] == kMask ? 1 : 0;
      ASSERT_EQ(masks, w.blocks[i].masks);
    }
    check_tokens(r);
    valid_before_[r.id] = w.valid;
  }

  // Nothing that was said is taken back; nothing final is a mask.
  void check_tokens(const Request& r) {
    Seen& seen = seen_[r.id];
    const auto tokens = r.tokens();
    ASSERT_GE(r.window.committed_end, seen.committed_end);
    for (size_t i = 0; i < std::min(seen.tokens.size(), tokens.size()); ++i)
      if (seen.tokens[i] != kMask) {
        ASSERT_EQ(tokens[i], seen.tokens[i]) << "position " << i;
      }
    for (int32_t p = 0; p < r.window.committed_end; ++p)
      ASSERT_NE(tokens[static_cast<size_t>(p)], kMask);
    seen.tokens.assign(tokens.begin(), tokens.end());
    seen.committed_end = r.window.committed_end;
  }

  // Between two schedules nobody has more pages than it needs.
  void check_spare_pages() {
    if (counts.refused > 0) return;  // the next schedule takes them back
    for (const Request* r : live_)
      if (r->phase == Phase::kRunning) {
        ASSERT_LE(static_cast<int32_t>(r->pages.pages.size()),
                  h_.cache->pages_for(r->window.left + r->to_cache_blocks() * r->block_size()));
      }
  }

  // Every reference of a page is a table's or a pin's; who shares one does so at the same place.
  void check_pages() {
    const KvCacheManager& cache = *h_.cache;
    std::map<PageId, int32_t> owners;
    std::map<PageId, size_t> places;
    size_t waiting = 0, running = 0;
    for (const Request* r : live_) {
      waiting += r->phase == Phase::kWaiting ? 1 : 0;
      running += r->phase == Phase::kRunning ? 1 : 0;
      if (r->phase == Phase::kWaiting) {
        ASSERT_TRUE(r->pages.pages.empty());
      }
      for (size_t i = 0; i < r->pages.pages.size(); ++i) {
        const PageId page = r->pages.pages[i];
        if (++owners[page] > 1) {
          ASSERT_TRUE(cleared_ || cache.findable(page))
              << "a page is shared that was never published";
        }
        ASSERT_EQ(places.try_emplace(page, i).first->second, i);
      }
    }
    ASSERT_EQ(waiting, h_.scheduler->waiting_count());
    ASSERT_EQ(running, h_.scheduler->running_count());
    int32_t used = 0;
    for (PageId page = 0; page < cache.total_pages(); ++page) {
      used += cache.references(page) > 0 ? 1 : 0;
      if (pins_.empty()) {
        ASSERT_EQ(cache.references(page), owners.contains(page) ? owners[page] : 0);
      }
    }
    ASSERT_EQ(used + cache.free_pages(), cache.total_pages());
  }

  void check_end() {
    ASSERT_TRUE(live_.empty()) << "no progress";
    ASSERT_EQ(h_.finished.size(), expected_.size());
    for (const auto& r : h_.finished) check_outcome(*r);
    for (const uint64_t pin : pins_) ASSERT_TRUE(h_.cache->unpin(pin));
    EXPECT_EQ(h_.cache->pinned_pages(), 0);
    EXPECT_EQ(h_.cache->free_pages(), shape_.kv_pages);
    counts.finished = h_.finished.size();
    counts.preemptions = h_.preemptions;
    counts.carried = h_.backend.carried_reads;
    counts.followed = h_.backend.followed;
  }

  void check_outcome(const Request& r) {
    const Expected& expected = expected_[r.id];
    std::vector<int32_t> whole = expected.output;
    const std::vector<int32_t> output = output_of(r);
    const int32_t finish = r.window.finish;
    const bool cut = finish == decide::kDeadline || finish == decide::kMaxSteps;
    if (cut)
      whole.resize(std::min(whole.size(), output.size()));
    else
      EXPECT_EQ(finish, expected.finish) << "request " << r.id;
    EXPECT_EQ(output, whole) << "request " << r.id << " of " << kind_.strategy;
    EXPECT_LE(r.window.committed_end, r.window.limit);
    if (finish == decide::kMaxSteps) {
      EXPECT_EQ(r.window.window_forwards, r.spec.max_forwards);
    }
    counts.cut += finish == decide::kMaxSteps ? 1 : 0;
    counts.repetitions += finish == decide::kRepetition ? 1 : 0;
    counts.stop_strings += finish == decide::kStopString ? 1 : 0;
    counts.stops += finish == decide::kEos ? 1 : 0;
    counts.hits += r.prefix_hits > 0 ? 1 : 0;
  }

  std::mt19937_64 rng_;
  const Kind kind_;
  const EngineShape shape_;
  StepHarness h_;
  std::map<uint64_t, Expected> expected_;
  std::map<uint64_t, Seen> seen_;
  std::map<uint64_t, int32_t> valid_before_;  // blocks in the window after its last step
  std::vector<decide::Window> before_;        // of the scheduled requests, before the forward
  std::vector<Request*> live_;
  std::vector<uint64_t> pins_;
  bool cleared_ = false;
};

}  // namespace diffulex::testing
