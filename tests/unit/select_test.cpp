// From logits to tokens: the reductions over tiles against a plain softmax, and draws against their
// probabilities.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "backend/cpu/candidates.h"
#include "backend/cpu/select_kernels.h"
#include "decide/select.h"

namespace diffulex {
namespace {

using decide::Pick;
using decide::SamplerParams;

// As the head does it, for one row, with few candidates.
Pick select(std::vector<float> logits, const SamplerParams& s, int32_t position = 3,
            int32_t step = 5) {
  const bool truncates = s.temperature > 0 && (s.top_k > 0 || s.top_p < 1 || s.min_p > 0);
  std::vector<decide::TilePartial> tiles;
  cpu::Candidates lists[2] = {cpu::Candidates(1024), cpu::Candidates(1024)};
  const int n = static_cast<int>(logits.size());
  for (int first = 0, t = 0; first < n; first += decide::kTileIds, ++t) {
    const int width = std::min(decide::kTileIds, n - first);
    float* l = logits.data() + first;
    const float u = s.temperature > 0 && !truncates
                        ? decide::uniform(decide::row_draw(s, position, step, t).v[0])
                        : -1.0f;
    tiles.emplace_back();
    cpu::reduce_tile(l, width, first, s.temperature, s.flags, u, &tiles.back());
    lists[t % 2].add(l, width, first);
  }
  const int count = static_cast<int>(tiles.size());
  if (!truncates) return decide::pick_from_tiles(tiles.data(), count, s, position, step);
  const auto sums = decide::sum_tiles(tiles.data(), count);
  lists[0].add(lists[1]);
  lists[0].rank();
  const int kept =
      decide::kept_candidates(lists[0].data(), lists[0].size(), lists[0].complete(), sums, s);
  return kept < 0 ? Pick{-2, 0, 0}
                  : decide::pick_from_candidates(lists[0].data(), kept, sums, s, position, step);
}

SamplerParams greedy(uint32_t flags = 0) { return {0, 1, 0, flags, 0}; }

std::vector<float> gap(int token, float value) {
  std::vector<float> row(8, 0.0f);
  row[static_cast<size_t>(token)] = value;
  row[7] = -INFINITY;  // the mask
  return row;
}

TEST(Select, WorkedConfidences) {
  const float gaps[] = {6, 2, 5, 1};
  const float expected[] = {.985345f, .551873f, .961143f, .311791f};
  const float entropies[] = {.102690f, 1.490692f, .233916f, 1.853631f};
  for (int i = 0; i < 4; ++i) {
    const Pick pick = select(gap(2 + i, gaps[i]), greedy(decide::kWantEntropy));
    EXPECT_EQ(pick.token, 2 + i);
    EXPECT_NEAR(pick.confidence, expected[i], 1e-6);
    EXPECT_NEAR(pick.entropy, entropies[i], 1e-5);
  }
  std::vector<float> tie(8, 0.0f);
  tie[1] = tie[3] = 5;
  tie[7] = -INFINITY;
  const Pick pick = select(tie, greedy());
  EXPECT_EQ(pick.token, 3);  // the highest id
  EXPECT_NEAR(pick.confidence, .491717, 1e-6);
}

TEST(Select, GreedyEqualsAPlainSoftmax) {
  std::mt19937 rng(2);
  std::normal_distribution<float> normal(0, 4);
  for (const int n : {1, 7, 512, 513, 1500, 5000}) {
    std::vector<float> row(static_cast<size_t>(n));
    for (float& x : row) x = normal(rng);
    row[static_cast<size_t>(n / 3)] = NAN;
    row[static_cast<size_t>(n / 2)] = INFINITY;  // not finite: never chosen
    if (n == 1) row[0] = 1;
    double top = -INFINITY, sum = 0, entropy = 0;
    int best = -1;
    for (int i = 0; i < n; ++i)
      if (std::isfinite(row[static_cast<size_t>(i)]) && row[static_cast<size_t>(i)] >= top)
        top = row[static_cast<size_t>(best = i)];
    for (const float x : row)
      if (std::isfinite(x)) sum += std::exp(x - top);
    for (const float x : row)
      if (std::isfinite(x)) entropy -= std::exp(x - top) / sum * (x - top - std::log(sum));
    const Pick pick = select(row, greedy(decide::kWantEntropy));
    EXPECT_EQ(pick.token, best);
    EXPECT_NEAR(pick.confidence, 1 / sum, 1e-5);
    EXPECT_NEAR(pick.entropy, entropy, 1e-3);
  }
  EXPECT_EQ(select(std::vector<float>(600, NAN), greedy()).token, -1);
}

TEST(Select, TiesOverTilesTakeTheHighestId) {
  std::vector<float> row(1500, 0.0f);
  row[3] = row[511] = row[512] = row[1400] = 5;
  EXPECT_EQ(select(row, greedy()).token, 1400);
}

// Frequencies of many seeds against the probabilities, and the confidence that goes with each.
void expect_frequencies(const std::vector<float>& row, const SamplerParams& base,
                        const std::vector<double>& probabilities) {
  constexpr int kDraws = 40000;
  std::vector<int> counts(row.size(), 0);
  for (int i = 0; i < kDraws; ++i) {
    SamplerParams s = base;
    s.seed = static_cast<uint64_t>(i);
    const Pick pick = select(row, s);
    ASSERT_GE(pick.token, 0);
    ++counts[static_cast<size_t>(pick.token)];
    ASSERT_NEAR(pick.confidence, probabilities[static_cast<size_t>(pick.token)], 1e-4);
  }
  for (size_t i = 0; i < row.size(); ++i) {
    const double p = probabilities[i], deviation = std::sqrt(p * (1 - p) / kDraws);
    EXPECT_NEAR(counts[i] / static_cast<double>(kDraws), p, 5 * deviation + 1e-9) << i;
  }
}

TEST(Select, DrawsFollowTheTemperature) {
  std::vector<float> row(1200, -30.0f);  // three tiles
  row[5] = 2, row[600] = 1, row[601] = 0.5f, row[1100] = 2.5f;
  const SamplerParams s{2.0f, 1, 0, 0, 0};
  std::vector<double> p(row.size());
  double sum = 0;
  for (size_t i = 0; i < row.size(); ++i) sum += p[i] = std::exp(row[i] / 2.0);
  for (double& x : p) x /= sum;
  expect_frequencies(row, s, p);
}

TEST(Select, TopPAndTopKKeepWhatTheySay) {
  // Probabilities .5, .3, .15, .05.
  const std::vector<float> row = {std::log(.15f), std::log(.5f), std::log(.05f), std::log(.3f)};
  expect_frequencies(row, {1, .4f, 0, 0, 0}, {0, 1, 0, 0});
  expect_frequencies(row, {1, .81f, 0, 0, 0}, {.15 / .95, .5 / .95, 0, .3 / .95});
  expect_frequencies(row, {1, 1, 2, 0, 0}, {0, .5 / .8, 0, .3 / .8});
  expect_frequencies(row, {1, .81f, 2, 0, 0}, {0, .5 / .8, 0, .3 / .8});
  const std::vector<float> ties = {1, 3, 3, 3};  // ties with the k-th stay
  expect_frequencies(ties, {1, 1, 2, 0, 0}, {0, 1 / 3., 1 / 3., 1 / 3.});
}

TEST(Select, CandidatesOfAWideNucleusAreNotGuessed) {
  std::vector<float> flat(4000, 0.0f);
  EXPECT_EQ(select(flat, {1, .99f, 0, 0, 1}).token,
            -2);  // told apart, and done exactly by the backend
  EXPECT_GE(select(flat, {1, .1f, 0, 0, 1}).token, 0);
}

TEST(Select, DrawsDependOnSeedPositionAndStepOnly) {
  std::vector<float> row(2000, 0.0f);
  const SamplerParams s{1, 1, 0, 0, 42};
  EXPECT_EQ(select(row, s, 1, 1).token, select(row, s, 1, 1).token);
  EXPECT_NE(select(row, s, 1, 1).token, select(row, s, 2, 1).token);
  EXPECT_NE(select(row, s, 1, 1).token, select(row, s, 1, 2).token);
}

}  // namespace
}  // namespace diffulex
