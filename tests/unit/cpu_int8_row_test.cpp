// Rows of activations as they are quantised to int8.
#include <gtest/gtest.h>

#include <cfloat>
#include <cmath>
#include <limits>
#include <random>

#include "backend/cpu/packed_matrix.h"
#include "unit/int8_row.h"

namespace diffulex::cpu {
namespace {

using Row = testing::Int8Row;

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

Row quantised(const std::vector<float>& x) {
  const auto cols = static_cast<int64_t>(x.size());
  std::vector<std::byte> row(int8_row_bytes(cols), std::byte{0x55});
  quantise_row(x.data(), cols, row.data());
  return {row.data(), cols};
}

TEST(Int8Row, RoundsToNearestEvenOfTheLargestMagnitude) {
  const Row row = quantised({127, 0.5f, 1.5f, 2.5f, -0.5f, -1.5f, -2.5f, 0.51f, -126.5f, -127});
  EXPECT_EQ(row.head.scale, 1.0f);
  const std::vector<int> expected = {127, 0, 2, 2, 0, -2, -2, 1, -126, -127};
  EXPECT_EQ(std::vector<int>(row.q.begin(), row.q.begin() + 10), expected);
  EXPECT_EQ(row.head.offset, 128 * (127 + 2 + 2 - 2 - 2 + 1 - 126 - 127));
  EXPECT_EQ(quantised({-3, 3, 1.5f}).q[0], -127);
  EXPECT_EQ(quantised({-3, 3, 1.5f}).q[1], 127);
}

TEST(Int8Row, EveryLengthIsPaddedWithZeros) {
  std::mt19937 rng(1);
  std::normal_distribution<float> draw;
  for (int64_t cols = 1; cols <= 200; ++cols) {
    std::vector<float> x;
    std::vector<uint16_t> halves;
    for (int64_t i = 0; i < cols; ++i) {
      halves.push_back(to_bf16(draw(rng)));
      x.push_back(from_bf16(halves.back()));
    }
    const Row row = quantised(x);
    float most = 0;
    int sum = 0;
    for (const float v : x) most = std::max(most, std::fabs(v));
    EXPECT_FLOAT_EQ(row.head.scale, most / 127);
    for (size_t i = 0; i < row.q.size(); ++i) {
      if (i >= x.size()) {
        EXPECT_EQ(row.q[i], 0) << cols << " " << i;
        continue;
      }
      sum += row.q[i];
      EXPECT_LE(std::abs(row.q[i]), 127);
      EXPECT_LE(std::fabs(x[i] - row.q[i] * row.head.scale), 0.50001f * row.head.scale);
    }
    EXPECT_EQ(row.head.offset, 128 * sum);
    std::vector<std::byte> same(int8_row_bytes(cols));
    quantise_row(halves.data(), cols, same.data());
    EXPECT_EQ(Row(same.data(), cols).q, row.q);
    EXPECT_EQ(Row(same.data(), cols).head.scale, row.head.scale);
  }
}

TEST(Int8Row, ZerosTinyAndHugeValues) {
  for (const float tiny : {0.0f, -0.0f, FLT_TRUE_MIN, FLT_MIN, 0x1p-101f}) {
    const Row row = quantised({tiny, -tiny, 0});
    EXPECT_EQ(row.head.scale, 0.0f);
    EXPECT_EQ(row.head.offset, 0);
    EXPECT_EQ(row.q, std::vector<int>(64, 0));
  }
  for (const float most : {0x1p-100f, 1e-20f, 1e20f, FLT_MAX}) {
    const Row row = quantised({most, -most, most / 2, 0});
    EXPECT_TRUE(std::isnormal(row.head.scale)) << most;
    EXPECT_EQ(row.q[0], 127);
    EXPECT_EQ(row.q[1], -127);
    EXPECT_EQ(row.q[2], 64);
    EXPECT_EQ(row.q[3], 0);
  }
}

TEST(Int8Row, WhatIsNotFiniteGetsAScaleOfNaN) {
  for (const float bad : {kNaN, -kNaN, kInfinity, -kInfinity})
    for (const size_t at : {0, 5, 17, 39}) {
      std::vector<float> x(40, 1.0f);
      x[at] = bad;
      const Row row = quantised(x);
      EXPECT_TRUE(std::isnan(row.head.scale));
      EXPECT_EQ(row.head.offset, 0);
      EXPECT_EQ(row.q, std::vector<int>(64, 0));
    }
}

}  // namespace
}  // namespace diffulex::cpu
