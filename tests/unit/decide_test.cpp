// Decision functions on their own: opening, accepting, limits, thresholds, random numbers,
// visibility.
#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "base/error.h"
#include "base/options.h"
#include "decide/multi_block.h"
#include "decide/philox.h"
#include "decide/visibility.h"
#include "strategy/strategy.h"
#include "strategy/templates/multi_block/multi_block.h"

namespace diffulex {
namespace {

using decide::Pick;

decide::MultiBlockParams params(int b, int buffer, float accept) {
  decide::MultiBlockParams p{};
  p.block_size = b;
  p.buffer_blocks = buffer;
  p.mask_token = 7;
  p.add_block_fill = multi_block::fill_count(0.1, b);
  p.semi_fill = multi_block::fill_count(0.9, b);
  p.accept_threshold = accept;
  p.stop_tokens[0] = 6;
  p.stop_count = p.eos_count = 1;
  return p;
}

decide::Window window(const decide::MultiBlockParams& p, int32_t left, int32_t limit) {
  decide::Window w{};
  w.left = left;
  w.prompt_len = left;
  w.limit = limit;
  w.limit_reason = decide::kMaxTokens;
  w.first_stop = w.stop_index = -1;
  w.committed_end = left;
  for (int i = 0; i < p.buffer_blocks; ++i)
    w.blocks[i].masks = static_cast<uint16_t>(decide::counted_positions(p, w, i));
  return w;
}

TEST(Thresholds, CountsEqualDoubleComparisons) {
  EXPECT_EQ(multi_block::fill_count(0.9, 32), 29);
  EXPECT_EQ(multi_block::fill_count(0.1, 8), 1);
  EXPECT_EQ(multi_block::fill_count(0.0, 8), 0);
  EXPECT_EQ(multi_block::fill_count(1.0, 8), 8);
  for (int b = 1; b <= 64; ++b)
    for (int t = 0; t <= 100; ++t)
      for (int f = 0; f <= b; ++f)
        EXPECT_EQ(f >= multi_block::fill_count(t / 100.0, b),
                  static_cast<double>(f) / b >= t / 100.0);
}

// What an engine or a request asks for is what its requests decide with.
TEST(Decision, FollowsTheOptions) {
  ArchSpec arch;
  arch.mask_token = 7;
  arch.decoding.accept_threshold = 0.95f;
  EngineShape shape;
  shape.block_size = 8;
  shape.buffer_blocks = 2;
  const auto decision = [&](const char* key, const char* value) {
    OptionValues options(find_strategy("multi_bd").options);
    if (key != nullptr) options.set("test", key, value);
    return multi_block::decision(arch, sampler_for("sdar"), shape, options);
  };
  EXPECT_EQ(decision(nullptr, nullptr).accept_threshold, 0.95f);  // the family's own
  EXPECT_EQ(decision("accept_threshold", "0.5").accept_threshold, 0.5f);
  EXPECT_EQ(decision(nullptr, nullptr).add_block_fill, 1);
  EXPECT_EQ(decision("add_block_threshold", "0.5").add_block_fill, 4);
  EXPECT_EQ(decision("semi_complete_threshold", "0.5").semi_fill, 4);
  // Reached with the last token of a block, not never.
  EXPECT_EQ(decision("token_stability_threshold", "0.2").add_block_fill, 8);
  // What nobody asks for is the family's.
  arch.decoding.add_block_threshold = 0.25;
  arch.decoding.semi_complete_threshold = 0.5;
  EXPECT_EQ(decision(nullptr, nullptr).add_block_fill, 2);
  EXPECT_EQ(decision(nullptr, nullptr).semi_fill, 4);
  EXPECT_EQ(decision("add_block_threshold", "0.1").add_block_fill, 1);
  EXPECT_EQ(decision("semi_complete_threshold", "0.9").semi_fill, 8);
  arch.decoding.token_stability_threshold = 0.5;
  EXPECT_EQ(decision(nullptr, nullptr).add_block_fill, 8);
  EXPECT_EQ(decision("token_stability_threshold", "0").add_block_fill, 2);
}

TEST(Decision, ThresholdsAreShares) {
  for (const Strategy* strategy : strategies())
    for (const OptionSpec& spec : strategy->options) {
      if (spec.type != OptionType::kFloat) continue;
      OptionValues options(strategy->options);
      for (const char* bad : {"-0.01", "1.01", "nan"})
        EXPECT_THROW(options.set("test", spec.key, bad), Error) << spec.key << " " << bad;
      EXPECT_NO_THROW(options.set("test", spec.key, "1"));
    }
}

// Final output tokens count, the prompt's do not, and a stop token in front of the run's end wins.
TEST(Repetition, RunsOfFinalOutputTokensEndTheRequest) {
  decide::MultiBlockParams p = params(4, 1, 0.5f);
  p.max_repetition_run = 3;
  const auto decode = [&](std::vector<int32_t> output, decide::Window* w) {
    *w = window(p, 4, 4 + static_cast<int32_t>(output.size()));
    std::vector<int32_t> tokens(4, p.mask_token);
    for (size_t at = 0; w->finish == decide::kRunning; at += 4) {
      decide::open_block(p, *w, true);
      std::vector<Pick> picks;
      for (size_t i = at; i < at + 4; ++i) picks.push_back({output[i], 0.9f, 0});
      decide::multi_block_step(p, *w, tokens.data(), picks.data(), 0);
      if (w->finish != decide::kRunning) break;
      decide::multi_block_step(p, *w, tokens.data(), nullptr, 1);
    }
    return w->committed_end - w->prompt_len;
  };
  decide::Window w{};
  EXPECT_EQ(decode({1, 2, 5, 5, 5, 3, 3, 3}, &w), 5);  // across two blocks
  EXPECT_EQ(w.finish, decide::kRepetition);
  EXPECT_EQ(decode({1, 1, 2, 1, 1, 2, 2, 3}, &w), 8);
  EXPECT_EQ(w.finish, decide::kMaxTokens);
  EXPECT_EQ(decode({1, 1, 6, 1, 1, 1, 1, 1}, &w), 3);
  EXPECT_EQ(w.finish, decide::kEos);
  EXPECT_EQ(decode({5, 5, 5, 6}, &w), 3);
  EXPECT_EQ(w.finish, decide::kRepetition);
}

// The masks behind the filled positions are no run of equal tokens.
TEST(Repetition, MasksAreNoTokens) {
  decide::MultiBlockParams p = params(4, 2, 0.5f);
  p.max_repetition_run = 2;
  decide::Window w = window(p, 0, 8);
  w.valid = 2;
  w.blocks[0].status = w.blocks[1].status = decide::kActive;
  std::vector<int32_t> tokens(8, p.mask_token);
  std::vector<Pick> picks(8, Pick{3, 0.1f, 0});
  picks[0].confidence = 0.9f;
  decide::multi_block_step(p, w, tokens.data(), picks.data(), 0);
  EXPECT_EQ(w.blocks[0].masks, 3);
  EXPECT_EQ(w.finish, decide::kRunning);
}

// The selection example: confidences .985, .552, .961, .312 for tokens 2, 3, 4, 5.
TEST(Accept, ThresholdAndGate) {
  const std::vector<Pick> picks = {
      {2, .985345f, 0}, {3, .551873f, 0}, {4, .961143f, 0}, {5, .311791f, 0}};
  const auto accepted = [&](float threshold, bool gate, bool always) {
    auto p = params(4, 1, threshold);
    p.force_always = always ? 1 : 0;
    auto w = window(p, 0, 100);
    w.valid = 1;
    w.blocks[0].status = decide::kActive;
    std::vector<int32_t> tokens(4, 7);
    bool fault = false;
    EXPECT_EQ(decide::accept_block(p, w, tokens.data(), 0, gate, picks.data(), &fault), 4);
    EXPECT_FALSE(fault);
    std::vector<int> out;
    for (int i = 0; i < 4; ++i)
      if (tokens[static_cast<size_t>(i)] != 7) out.push_back(i);
    EXPECT_EQ(w.blocks[0].masks, 4 - static_cast<int>(out.size()));
    return out;
  };
  using V = std::vector<int>;
  EXPECT_EQ(accepted(.9f, true, false), (V{0, 2}));
  EXPECT_EQ(accepted(.9f, false, false), (V{0, 2}));
  EXPECT_EQ(accepted(.99f, true, false), (V{0}));
  EXPECT_EQ(accepted(.99f, false, false), (V{}));
  EXPECT_EQ(accepted(.99f, false, true), (V{0}));
  EXPECT_EQ(accepted(.5f, true, false), (V{0, 1, 2}));
  EXPECT_EQ(accepted(.985345f, false, false), (V{}));  // strictly above
}

TEST(Accept, ForcedTieTakesTheLowestPosition) {
  const auto p = params(4, 1, .9f);
  auto w = window(p, 0, 100);
  w.valid = 1;
  w.blocks[0].status = decide::kActive;
  std::vector<int32_t> tokens = {1, 7, 7, 7};
  w.blocks[0].masks = 3;
  const std::vector<Pick> picks = {{0, .5f, 0}, {1, .7f, 0}, {2, .7f, 0}};
  bool fault = false;
  decide::accept_block(p, w, tokens.data(), 0, true, picks.data(), &fault);
  EXPECT_EQ(tokens, (std::vector<int32_t>{1, 7, 1, 7}));
}

// The multi-block example: token (3p+1) mod 6 at position p, confident on even positions only;
// prompt of 6, b = 4, B = 2.
TEST(MultiBlock, TwoBlocksFillTogether) {
  const auto p = params(4, 2, .9f);
  auto w = window(p, 4, 100);
  w.prompt_len = w.committed_end = 6;
  w.valid = 1;
  w.blocks[0].status = decide::kActive;
  w.blocks[0].editable_start = 2;
  w.blocks[0].masks = 2;
  std::vector<int32_t> t = {5, 0, 7, 7, 7, 7, 7, 7};
  const auto forward = [&](bool cached) {
    decide::open_block(p, w, cached);
    int stored = 0;
    while (stored < w.valid && w.blocks[stored].status == decide::kToCache) ++stored;
    std::vector<Pick> picks;
    for (int i = 0; i < w.valid; ++i)
      for (int o = 0; o < 4 && w.blocks[i].status == decide::kActive; ++o)
        if (t[static_cast<size_t>(i * 4 + o)] == 7) {
          const int32_t at = w.left + i * 4 + o;
          picks.push_back({(3 * at + 1) % 6, at % 2 == 0 ? .985f : .552f, 0});
        }
    decide::multi_block_step(p, w, t.data(), picks.data(), stored);
  };
  using V = std::vector<int32_t>;
  forward(false);
  EXPECT_EQ(t, (V{5, 0, 1, 7, 1, 7, 1, 7}));
  forward(true);
  EXPECT_EQ(t, (V{5, 0, 1, 4, 1, 7, 1, 7}));
  EXPECT_EQ(w.blocks[0].status, decide::kToCache);
  forward(true);  // the first block is stored and leaves
  EXPECT_EQ(t, (V{1, 4, 1, 7, 7, 7, 7, 7}));
  EXPECT_EQ(w.left, 8);
  EXPECT_EQ(w.valid, 1);
  forward(true);
  EXPECT_EQ(t, (V{1, 4, 1, 4, 1, 7, 1, 7}));
  EXPECT_EQ(w.blocks[0].status, decide::kToCache);
  forward(true);
  EXPECT_EQ(t, (V{1, 4, 1, 7, 7, 7, 7, 7}));
  EXPECT_EQ(w.left, 12);
  EXPECT_EQ(w.finish, decide::kRunning);
}

TEST(MultiBlock, ARowWithoutAFiniteLogitFailsTheRequest) {
  const auto p = params(4, 1, .9f);
  auto w = window(p, 0, 100);
  w.valid = 1;
  w.blocks[0].status = decide::kActive;
  std::vector<int32_t> tokens(4, 7);
  const std::vector<Pick> picks = {{1, .99f, 0}, {-1, 0, 0}, {1, .99f, 0}, {1, .99f, 0}};
  decide::multi_block_step(p, w, tokens.data(), picks.data(), 0);
  EXPECT_EQ(w.finish, decide::kSamplerFault);
}

TEST(MultiBlock, AnEndTokenGoesBeforeALimitReachedWithIt) {
  auto p = params(4, 1, .9f);
  const std::vector<Pick> picks = {{1, .99f, 0}, {6, .99f, 0}, {2, .99f, 0}, {3, .99f, 0}};
  for (const int limit : {2, 3, 4}) {
    for (const int max_forwards : {0, 1}) {
      auto w = window(p, 0, limit);
      w.max_forwards = max_forwards;
      w.valid = 1;
      w.blocks[0].status = decide::kActive;
      std::vector<int32_t> tokens(4, 7);
      decide::multi_block_step(p, w, tokens.data(), picks.data(), 0);
      EXPECT_EQ(w.finish, decide::kEos);
      EXPECT_EQ(w.committed_end, 2);
    }
  }
}

TEST(MultiBlock, NothingOpensBehindAnEndTokenOrTheLimit) {
  const auto p = params(4, 4, .9f);
  auto w = window(p, 0, 8);
  EXPECT_FALSE(decide::open_block(p, w, false));
  EXPECT_TRUE(decide::open_block(p, w, true));
  w.blocks[0].masks = 0;
  EXPECT_TRUE(decide::open_block(p, w, true));
  w.blocks[1].masks = 0;
  EXPECT_FALSE(decide::open_block(p, w, true));  // position 8 is the limit
  w.limit = 100;
  w.first_stop = 3;
  EXPECT_FALSE(decide::open_block(p, w, true));
}

// Known answers of the generator's authors (Random123, kat_vectors).
TEST(Philox, KnownAnswers) {
  const auto zero = decide::philox(0, 0, 0, 0, 0);
  EXPECT_EQ(zero.v[0], 0x6627e8d5u);
  EXPECT_EQ(zero.v[1], 0xe169c58du);
  EXPECT_EQ(zero.v[2], 0xbc57ac4cu);
  EXPECT_EQ(zero.v[3], 0x9b00dbd8u);
  const auto ones = decide::philox(~uint64_t{0}, ~0u, ~0u, ~0u, ~0u);
  EXPECT_EQ(ones.v[0], 0x408f276du);
  EXPECT_EQ(ones.v[1], 0x41c83b0eu);
  EXPECT_EQ(ones.v[2], 0xa20bc7c6u);
  EXPECT_EQ(ones.v[3], 0x6d5451fdu);
  EXPECT_GT(decide::uniform(0), 0.0f);
  EXPECT_LT(decide::uniform(~0u), 1.0f);
}

// Pairwise rules written out, against the ranges.
TEST(Visibility, RangesEqualThePairwiseRules) {
  std::mt19937 rng(3);
  for (int round = 0; round < 3000; ++round) {
    const int32_t g = 1 << (rng() % 5), prompt = 1 + static_cast<int32_t>(rng() % 60);
    const int32_t padded = (prompt + g - 1) / g * g;
    decide::AttentionRule rule{static_cast<int32_t>(rng() % 5), g, prompt, padded,
                               static_cast<int32_t>(rng() % 2)};
    const int32_t context = static_cast<int32_t>(rng() % 8) * g;
    const int32_t end = context + g * (1 + static_cast<int32_t>(rng() % 12));
    const int32_t sliding = rng() % 3 == 0 ? 1 + static_cast<int32_t>(rng() % 20) : 0;
    for (int32_t a = context; a < end; ++a) {
      const auto range = decide::visible_keys(rule, a, context, end, sliding);
      for (int32_t k = 0; k < end; ++k) {
        bool sees = false;
        if (k < context) {
          sees = !(rule.hole != 0 && prompt <= k && k < padded);
        } else if (rule.mode == decide::kBlockCausal ||
                   (rule.mode == decide::kPrefixFull && a >= padded)) {
          sees = k / g <= a / g;
        } else if (rule.mode == decide::kPrefixFull) {
          sees = a < prompt ? k < prompt : k < padded;
        } else if (rule.mode == decide::kPrefixCausal) {
          sees = k <= a;
        } else {
          sees = rule.mode == decide::kUnmasked;
        }
        if (sliding > 0 && a - k >= sliding) sees = false;
        const bool in_range =
            range.begin <= k && k < range.end && !(range.hole_begin <= k && k < range.hole_end);
        ASSERT_EQ(in_range, sees) << "mode " << rule.mode << " a " << a << " k " << k << " C "
                                  << context;
      }
    }
  }
}

TEST(Options, AreTypedAndRanged) {
  static constexpr OptionSpec specs[] = {
      {"count", OptionType::kInt, "3", "1..9", "a count", 1, 9},
      {"share", OptionType::kFloat, "", "0..1", "a share", 0, 1},
      {"on", OptionType::kBool, "true", "true, false", "a switch"},
      {"name", OptionType::kString, "x", "any", "a name"}};
  OptionValues values(specs);
  EXPECT_EQ(values.integer("count"), 3);
  EXPECT_TRUE(values.flag("on"));
  EXPECT_TRUE(std::isnan(values.number("share")));
  EXPECT_FALSE(values.is_set("count"));
  values.set("test", "count", "9");
  EXPECT_EQ(values.integer("count"), 9);
  EXPECT_TRUE(values.is_set("count"));
  const auto status_of = [&](const char* key, const char* value) {
    try {
      values.set("test", key, value);
    } catch (const Error& error) {
      return error.status();
    }
    return static_cast<diffulex_status>(DIFFULEX_OK);
  };
  for (const char* bad : {"", "0", "10", "3x", "3.5", "nan", " 3"})
    EXPECT_EQ(status_of("count", bad), DIFFULEX_E_INVALID_ARGUMENT) << bad;
  for (const char* bad : {"1.01", "-0.1", "inf", "nan", "x"})
    EXPECT_EQ(status_of("share", bad), DIFFULEX_E_INVALID_ARGUMENT) << bad;
  EXPECT_EQ(status_of("share", "0.25"), DIFFULEX_OK);
  EXPECT_EQ(status_of("count", "8"), DIFFULEX_E_INVALID_ARGUMENT);  // set twice, differently
  EXPECT_EQ(status_of("count", "9"), DIFFULEX_OK);
  EXPECT_EQ(status_of("cuont", "9"), DIFFULEX_E_UNKNOWN_OPTION);
  values.seal();
  EXPECT_EQ(status_of("count", "8"), DIFFULEX_OK);
}

}  // namespace
}  // namespace diffulex
