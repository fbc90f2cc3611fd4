// Worked examples of selection and acceptance: vocabulary 8, blocks of 4, mask 7, greedy. A row
// with "gap g at token t" is zero everywhere but for g at t.
#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "backend/cpu/select_kernels.h"
#include "decide/multi_block.h"
#include "decide/select.h"
#include "step_harness.h"

namespace diffulex::testing {
namespace {

using decide::Pick;
using V = std::vector<int32_t>;
constexpr int32_t M = 7;

Pick pick_gap(int token, float gap, decide::Rank rank = decide::kRankProbability) {
  float row[8] = {};
  row[token] = gap;
  row[M] = -INFINITY;  // the head bans the mask, whatever its logit
  decide::SamplerParams s{0, 1, 0, decide::kWantEntropy | decide::kWantMargin, 0};
  s.rank = rank;
  decide::TilePartial tile;
  cpu::reduce_tile(row, 8, 0, 0, s.flags, -1, &tile);
  return decide::pick_from_tiles(&tile, 1, s, 0, 0);
}

std::vector<Pick> example_row(decide::Rank rank) {
  return {pick_gap(2, 6, rank), pick_gap(3, 2, rank), pick_gap(4, 5, rank), pick_gap(5, 1, rank)};
}

// Offsets accepted in a block of four masks.
V accepted(std::string_view family, float threshold, bool gate, const std::vector<Pick>& picks) {
  decide::MultiBlockParams p{};
  p.block_size = 4;
  p.buffer_blocks = 1;
  p.mask_token = M;
  p.accept_threshold = threshold;
  p.force_always = sampler_for(family).force_always ? 1 : 0;
  decide::Window w{};
  w.limit = 100;
  w.first_stop = -1;
  w.valid = 1;
  w.blocks[0] = {decide::kActive, 0, 0, 4, 0, 0, 0};
  V tokens(4, M), out;
  bool fault = false;
  decide::accept_block(p, w, tokens.data(), 0, gate, picks.data(), &fault);
  EXPECT_FALSE(fault);
  for (int i = 0; i < 4; ++i)
    if (tokens[static_cast<size_t>(i)] != M) out.push_back(i);
  return out;
}

TEST(W1, Confidences) {
  const float probability[] = {.985345f, .551873f, .961143f, .311791f};
  const float margin[] = {.982903f, .477185f, .954667f, .197089f};
  const float entropy[] = {-.102690f, -1.490692f, -.233916f, -1.853631f};
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(example_row(decide::kRankProbability)[i].token, static_cast<int32_t>(i) + 2);
    EXPECT_NEAR(example_row(decide::kRankProbability)[i].rank, probability[i], 1e-5);
    EXPECT_NEAR(example_row(decide::kRankMargin)[i].rank, margin[i], 1e-5);
    EXPECT_NEAR(example_row(decide::kRankNegEntropy)[i].rank, entropy[i], 1e-5);
    EXPECT_NEAR(example_row(decide::kRankNegEntropy)[i].confidence, probability[i], 1e-5);
  }
}

TEST(W1, AcceptRules) {
  const auto picks = example_row(decide::kRankProbability);
  for (const char* family : {"llada", "dream", "dream_reasoner", "sdar"}) {
    for (const bool gate : {true, false}) EXPECT_EQ(accepted(family, .9f, gate, picks), (V{0, 2}));
    EXPECT_EQ(accepted(family, .99f, true, picks), (V{0}));
    EXPECT_EQ(accepted(family, .99f, false, picks), (V{}));
    EXPECT_EQ(accepted(family, .5f, true, picks), (V{0, 1, 2}));
  }
  EXPECT_EQ(accepted("stable_diffcoder", .99f, false, picks), (V{0}));
  EXPECT_EQ(accepted("stable_diffcoder", .9f, false, picks), (V{0, 2}));
  EXPECT_TRUE(sampler_for("dream").shift);
  for (const char* family : {"llada", "dream_reasoner", "sdar", "stable_diffcoder"})
    EXPECT_FALSE(sampler_for(family).shift);
}

// The measure decides which mask is forced; the threshold always looks at the probability.
TEST(W1, MeasuresOrderTheForcedChoice) {
  // Two rows: .6 against a close second, and .5 far ahead of many.
  float close[8] = {4.0f, 3.9f, 0, 0, 0, 0, 0, -INFINITY},
        wide[8] = {2.0f, 0, 0, 0, 0, 0, 0, -9.0f};
  const auto picks = [&](decide::Rank rank) {
    std::vector<Pick> out;
    for (float* row : {close, wide}) {
      float copy[8];
      std::copy_n(row, 8, copy);
      decide::SamplerParams s{0, 1, 0, decide::kWantEntropy | decide::kWantMargin, 0};
      s.rank = rank;
      decide::TilePartial tile;
      cpu::reduce_tile(copy, 8, 0, 0, s.flags, -1, &tile);
      out.push_back(decide::pick_from_tiles(&tile, 1, s, 0, 0));
    }
    out.push_back(pick_gap(5, 0.1f, rank));
    out.push_back(pick_gap(5, 0.1f, rank));
    return out;
  };
  EXPECT_EQ(accepted("llada", .95f, true, picks(decide::kRankMargin)), (V{1}));
  EXPECT_EQ(accepted("llada", .95f, true, picks(decide::kRankNegEntropy)), (V{0}));
  EXPECT_EQ(accepted("llada", .5f, true, picks(decide::kRankMargin)),
            accepted("llada", .5f, true, picks(decide::kRankProbability)));
}

TEST(W1, Ties) {
  float row[8] = {};
  row[1] = row[3] = 5;
  row[M] = -INFINITY;
  decide::TilePartial tile;
  cpu::reduce_tile(row, 8, 0, 0, decide::kWantMargin, -1, &tile);
  decide::SamplerParams s{0, 1, 0, decide::kWantMargin, 0};
  s.rank = decide::kRankMargin;
  const Pick pick = decide::pick_from_tiles(&tile, 1, s, 0, 0);
  EXPECT_EQ(pick.token, 3);
  EXPECT_NEAR(pick.confidence, .491717, 1e-6);
  EXPECT_EQ(pick.rank, 0);
  EXPECT_EQ(accepted("llada", .9f, true, {{0, .5f, 0}, {1, .7f, 0}, {2, .7f, 0}, {3, .1f, 0}}),
            (V{1}));
}

// The second largest logit, wherever it is, with one and with several tiles.
TEST(W1, MarginOverTiles) {
  for (const int n : {2, 9, 512, 513, 1400}) {
    for (int first = 0; first < n; first += std::max(1, n / 7)) {
      for (int second = 0; second < n; second += std::max(1, n / 5)) {
        if (first == second) continue;
        std::vector<float> row(static_cast<size_t>(n), -30.0f);
        row[static_cast<size_t>(first)] = 2;
        row[static_cast<size_t>(second)] = 1;
        std::vector<decide::TilePartial> tiles;
        for (int at = 0; at < n; at += decide::kTileIds) {
          tiles.emplace_back();
          cpu::reduce_tile(row.data() + at, std::min(decide::kTileIds, n - at), at, 0,
                           decide::kWantMargin, -1, &tiles.back());
        }
        const auto sums = decide::sum_tiles(tiles.data(), static_cast<int>(tiles.size()));
        EXPECT_EQ(sums.argmax, first);
        EXPECT_EQ(sums.second, 1.0f) << n << " " << first << " " << second;
      }
    }
  }
}

TEST(W1, TruncationByProbability) {
  const auto kept = [](float top_p, int top_k) {
    std::vector<decide::Candidate> sorted;
    decide::RowSums row{std::log(.5f), 0, 0, 0, 0};
    for (const float p : {.5f, .3f, .15f, .05f}) {
      sorted.push_back({std::log(p), static_cast<int32_t>(sorted.size())});
      row.sum += p / .5f;
    }
    const decide::SamplerParams s{1, top_p, top_k, 0, 0};
    return decide::kept_candidates(sorted.data(), 4, true, row, s);
  };
  EXPECT_EQ(kept(.4f, 0), 1);
  EXPECT_EQ(kept(.81f, 0), 3);
  EXPECT_EQ(kept(1, 2), 2);
}

// One step of W2 or W3.
struct Forward {
  int32_t context, rows, stored;
  V tokens;              // of the window after it
  std::string statuses;  // likewise
};

RequestSpec example_spec(const EngineShape& shape, V prompt, const char* strategy,
                         const char* family) {
  RequestSpec spec = make_spec(shape, std::move(prompt), 40, strategy, family);
  spec.blocks.mask_token = M;
  spec.blocks.accept_threshold = .9f;
  spec.blocks.stop_count = spec.blocks.eos_count = 0;
  return spec;
}

void expect_trace(StepHarness& h, Request* r, const std::vector<Forward>& trace) {
  for (size_t i = 0; i < trace.size(); ++i) {
    ASSERT_TRUE(h.step());
    const Forward& expected = trace[i];
    EXPECT_EQ(h.backend.rows[0].context_len, expected.context) << "forward " << i + 1;
    EXPECT_EQ(h.backend.input.size(), static_cast<size_t>(expected.rows)) << "forward " << i + 1;
    EXPECT_EQ(h.backend.rows[0].store_len, expected.stored) << "forward " << i + 1;
    const auto tokens = r->window_tokens();
    EXPECT_EQ(V(tokens.begin(), tokens.end()), expected.tokens) << "forward " << i + 1;
    std::string statuses;
    for (int b = 0; b < 2; ++b) statuses += "DATC"[r->window.blocks[b].status];
    EXPECT_EQ(statuses, expected.statuses) << "forward " << i + 1;
  }
}

// Two blocks in flight, no shift. The model says (3p + 1) mod 6 at position p, surely at even ones.
TEST(W2, MultiBlockLLaDA) {
  const auto model = [](uint64_t, const RequestRow&, int32_t p) {
    return Pick{(3 * p + 1) % 6, p % 2 == 0 ? .985345f : .551873f, 0};
  };
  StepHarness h(small_shape(4, 2, 4, 8), model);
  Request* r = h.add(example_spec(h.shape, {1, 2, 3, 4, 5, 0}, "multi_bd", "llada"));
  expect_trace(h, r,
               {{0, 12, 4, {5, 0, 1, M, 1, M, 1, M}, "AA"},
                {4, 8, 0, {5, 0, 1, 4, 1, M, 1, M}, "TA"},
                {4, 8, 4, {1, 4, 1, M, M, M, M, M}, "AD"},
                {8, 8, 0, {1, 4, 1, 4, 1, M, 1, M}, "TA"},
                {8, 8, 4, {1, 4, 1, M, M, M, M, M}, "AD"}});
}

// The row of position p predicts position p + 1: (p + 1) mod 6, surely at even ones.
TEST(W3, D2fDream) {
  const auto model = [](uint64_t, const RequestRow&, int32_t p) {
    return Pick{p % 6, p % 2 == 0 ? .985345f : .551873f, 0};
  };
  StepHarness h(small_shape(4, 2, 4, 8), model, "d2f");
  h.shape.prefix_caching = false;
  Request* r = h.add(example_spec(h.shape, {1, 2, 3, 4}, "d2f", "dream"));
  expect_trace(h, r,
               {{0, 4, 4, {M, M, M, M, M, M, M, M}, "DD"},
                {4, 4, 0, {4, M, 0, M, M, M, M, M}, "AD"},
                {4, 8, 0, {4, 5, 0, M, 2, M, 4, M}, "AA"},
                {4, 8, 0, {4, 5, 0, 1, 2, M, 4, M}, "TA"},
                {4, 8, 4, {2, 3, 4, M, M, M, M, M}, "AD"},
                {8, 8, 0, {2, 3, 4, 5, 0, M, 2, M}, "TA"}});
  // Forward 2 reads the row that the prompt's forward kept; later ones begin behind a filled
  // position.
  EXPECT_EQ(h.backend.carried_reads, 1u);
}

// A prompt that the cache knows as a whole: the row in front of the window is computed again, so
// the first token is the one that a fresh prompt gives.
TEST(W3, FullyCachedPromptKeepsItsLastRow) {
  const auto model = [](uint64_t, const RequestRow&, int32_t p) { return Pick{p % 6, .99f, 0}; };
  StepHarness h(small_shape(4, 2, 4, 16), model);
  const V prompt = {1, 2, 3, 4, 5, 0, 1, 2};
  for (int i = 0; i < 2; ++i) {
    Request* r = h.add(example_spec(h.shape, prompt, "multi_bd", "dream"));
    ASSERT_TRUE(h.step());
    EXPECT_EQ(r->prefix_hits, i == 0 ? 0 : 4);
    EXPECT_EQ(h.backend.rows[0].token_count, i == 0 ? 8u : 4u);
    while (h.step()) {
    }
    EXPECT_EQ(output_of(*r)[0], 2);
  }
}

}  // namespace
}  // namespace diffulex::testing
