// Steps that follow one another without a plan: backend/chain.h makes of a step what the scheduler
// and the model runner would have planned behind it.
#include "backend/chain.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "backend/rounding.h"
#include "step_harness.h"

namespace diffulex::testing {
namespace {

// A step's part of one request, without its pages, which a step without a plan has none of.
struct Part {
  RequestRow row;
  std::vector<int32_t> tokens, heads;
};

Part part_of(RequestRow row, std::vector<int32_t> tokens, std::vector<int32_t> heads) {
  for (int32_t& head : heads)
    if (head != kCarriedRow) head -= static_cast<int32_t>(row.first_token);
  row.first_token = row.head_begin = 0;
  row.table_offset = row.page_begin = row.page_count = 0;
  return {row, std::move(tokens), std::move(heads)};
}

Part planned(const ScriptedBackend& backend, const RequestRow& row) {
  const auto token = backend.input.begin() + row.first_token;
  const auto head = backend.head_rows.begin() + row.head_begin;
  return part_of(row, {token, token + row.token_count}, {head, head + row.head_count});
}

Part followed(RequestRow row, Request& request) {
  const int32_t* const tokens = request.window_tokens().data();
  row.window = request.window;
  follow(row);
  std::vector<int32_t> heads(row.head_count);
  EXPECT_EQ(write_head_rows(row, tokens, heads.data()), static_cast<int32_t>(row.head_count));
  return part_of(row, {tokens, tokens + row.token_count}, std::move(heads));
}

// How sure the model is depends on the position and on how often it was asked.
decide::Pick moody(uint64_t, const RequestRow& row, int32_t position) {
  std::mt19937 rng(static_cast<unsigned>(position * 131 + row.window.denoise_forwards * 7 +
                                         static_cast<int32_t>(row.sampler.seed)));
  const auto token = static_cast<int32_t>(rng() % 500);
  return {rng() % 97 == 0 ? kEosToken : token, rng() % 3 == 0 ? 0.95f : 0.3f, 0};
}

// Runs some requests step by step and compares each step with what the one before would have been
// followed by. Returns how many parts were compared.
size_t compare_with_plans(uint64_t seed) {
  std::mt19937_64 rng(seed);
  const auto below = [&](uint64_t n) { return static_cast<int>(rng() % n); };
  constexpr std::pair<const char*, const char*> kKinds[] = {
      {"multi_bd", "sdar"}, {"multi_bd", "dream"}, {"d2f", "llada"}, {"d2f", "dream"}};
  const auto [strategy, family] = kKinds[below(4)];
  EngineShape shape = small_shape(4 << below(2), 1 + below(6), 8, 200, 1 + below(4));
  shape.max_batched_tokens += 64;
  shape.prefix_caching = std::string_view(strategy) != "d2f";
  StepHarness h(shape, moody, strategy);
  for (int i = 0; i < shape.max_requests; ++i) {
    RequestSpec spec = make_spec(shape, std::vector<int32_t>(static_cast<size_t>(1 + below(20)), 5),
                                 1 + below(60), strategy, family);
    spec.sampler.seed = rng();
    spec.max_forwards = below(4) == 0 ? 3 + below(10) : 0;
    h.add(std::move(spec));
  }
  std::map<uint32_t, Part> expected;  // by slot
  size_t compared = 0;
  h.hooks.on_result = [&](const Schedule& schedule) {
    for (const RequestRow& row : h.backend.rows) {
      const auto at = expected.find(row.slot);
      if (at == expected.end()) continue;
      const Part part = planned(h.backend, row);
      EXPECT_EQ(std::memcmp(&part.row, &at->second.row, sizeof part.row), 0) << "seed " << seed;
      EXPECT_EQ(part.tokens, at->second.tokens);
      EXPECT_EQ(part.heads, at->second.heads);
      ++compared;
    }
    expected.clear();
    for (size_t i = 0; i < schedule.rows.size(); ++i) {
      const ScheduledRequest& s = schedule.rows[i];
      if (s.window_offset != 0 || s.request->window.forwards < 2) continue;
      Part part = followed(h.backend.rows[i], *s.request);
      if (s.request->window.finish == decide::kRunning) {
        expected[h.backend.rows[i].slot] = std::move(part);
        continue;
      }
      EXPECT_EQ(part.row.token_count, 0u);  // parked
      EXPECT_EQ(part.row.head_count, 0u);
      EXPECT_EQ(part.row.store_len, 0);
      EXPECT_EQ(part.row.window_offset, -1);
      EXPECT_EQ(part.row.carry_row, -1);
      EXPECT_EQ(std::memcmp(&part.row.window, &s.request->window, sizeof part.row.window), 0);
    }
  };
  while (h.step()) {
  }
  return compared;
}

TEST(Chain, MakesOfAStepWhatWouldHaveBeenPlanned) {
  size_t compared = 0;
  for (uint64_t seed = 1; seed <= 400 && !::testing::Test::HasFailure(); ++seed)
    compared += compare_with_plans(seed);
  EXPECT_GT(compared, 5000u);
}

TEST(Chain, BoundsHoldWhateverIsAccepted) {
  for (uint64_t seed = 1; seed <= 300; ++seed) {
    std::mt19937_64 rng(seed);
    const auto below = [&](uint64_t n) { return static_cast<int>(rng() % n); };
    EngineShape shape = small_shape(4, 1 + below(6), 4, 100, 1);
    const RequestSpec spec =
        make_spec(shape, std::vector<int32_t>(static_cast<size_t>(1 + below(9)), 5), 60);
    Request request(1, spec, nullptr);
    decide::Window w = request.window;
    const std::span<int32_t> tokens = request.window_tokens();
    (void)decide::enter_forward(spec.blocks, w, true);
    const decide::Window first = w;
    for (int step = 1; w.finish == decide::kRunning; ++step) {
      std::vector<decide::Pick> picks;
      for (int i = decide::masks_to_fill(w); i-- > 0;)
        picks.emplace_back(3, below(4) == 0 ? 0.1f : 0.95f, 0.0f);
      decide::multi_block_step(spec.blocks, w, tokens.data(), picks.data(),
                               decide::to_cache_blocks(w));
      if (w.finish != decide::kRunning) break;
      const decide::WindowPart part = decide::enter_forward(spec.blocks, w, true);
      ASSERT_LE(w.left + part.stored_blocks * 4, decide::stored_bound(spec.blocks, first, step));
      ASSERT_LE(w.valid, decide::blocks_bound(spec.blocks, first, step));
    }
  }
}

TEST(Chain, PaddingIsFreeWhereItChangesNothing) {
  EXPECT_TRUE(padding_is_free(1, 128, 4096));      // the weights are read all the same
  EXPECT_TRUE(padding_is_free(250, 256, 4096));    // one size
  EXPECT_FALSE(padding_is_free(200, 256, 4096));   // another one
  EXPECT_TRUE(padding_is_free(3900, 4096, 4000));  // the same at the limit
}

TEST(Rounding, GivesFewSizesThatSuffice) {
  int32_t last = 0;
  int sizes = 0;
  for (int32_t n = 0; n <= 100000; ++n) {
    const int32_t rounded = rounded_size(n, 1 << 20);
    ASSERT_GE(rounded, n);
    ASSERT_LE(rounded, n <= 64 ? 2 * n : n + n / 7);
    ASSERT_GE(rounded, last);
    sizes += rounded != last ? 1 : 0;
    last = rounded;
  }
  EXPECT_LT(sizes, 100);
  EXPECT_EQ(rounded_size(900, 901), 901);
}

}  // namespace
}  // namespace diffulex::testing
