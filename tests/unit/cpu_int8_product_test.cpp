// int8 products against sums of 64-bit integers, and what a packed int8 matrix holds.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

#include "backend/cpu/int8_kernels.h"
#include "backend/cpu/packed_matrix.h"
#include "base/error.h"
#include "unit/int8_row.h"

namespace diffulex::cpu {
namespace {

using Row = testing::Int8Row;

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

std::vector<const Int8Kernels*> all_kernels() {
  std::vector<const Int8Kernels*> kernels = {&portable_int8()};
  if (avx512_vnni_int8() != nullptr) kernels.push_back(avx512_vnni_int8());
  return kernels;
}

// A matrix of integers whose rows reach 127, so that its scales are 1 and its elements known.
struct Integers {
  int64_t rows, cols;
  std::vector<float> x;

  Integers(int64_t rows_, int64_t cols_, std::mt19937& rng, bool extreme)
      : rows(rows_), cols(cols_) {
    std::uniform_int_distribution<int> draw(-127, 127);
    for (int64_t i = 0; i < rows * cols; ++i) {
      const int v = draw(rng);
      x.push_back(static_cast<float>(i % cols == 0 ? 127 : extreme ? (v < 0 ? -127 : 127) : v));
    }
  }
  int64_t at(int64_t r, int64_t c) const {
    return static_cast<int64_t>(x[static_cast<size_t>(r * cols + c)]);
  }
  WeightView view() const {
    return {reinterpret_cast<const std::byte*>(x.data()), DType::kF32, rows, cols, "integers"};
  }
};

PackedMatrix packed(const WeightView& view, int64_t tile) {
  PackedMatrix matrix(dnnl::engine(dnnl::engine::kind::cpu, 0), DType::kI8, view.rows, view.cols,
                      tile);
  const WeightRows rows{&view, 0, view.rows};
  for (int64_t t = 0; t < matrix.tiles(); ++t) matrix.pack_tile(t, {&rows, 1});
  return matrix;
}

// A weight as it is stored, in a matrix whose tiles are one panel wide.
int element(const PackedMatrix& m, int64_t n, int64_t k) {
  return m.panels(n / 32)[k / 4 * 128 + n % 32 * 4 + k % 4] - 128;
}

std::vector<std::byte> quantised_rows(const float* x, int64_t rows, int64_t cols) {
  std::vector<std::byte> out(static_cast<size_t>(rows) * int8_row_bytes(cols));
  for (int64_t r = 0; r < rows; ++r)
    quantise_row(x + r * cols, cols, out.data() + static_cast<size_t>(r) * int8_row_bytes(cols));
  return out;
}

// All tiles, put together again: [rows, w.rows()]
std::vector<float> product(const Int8Kernels& kernels, const PackedMatrix& w,
                           const std::vector<std::byte>& x, int64_t rows,
                           const std::vector<float>* onto = nullptr) {
  std::vector<float> all(static_cast<size_t>(rows * w.rows()), kNaN);
  for (int64_t t = 0; t < w.tiles(); ++t) {
    const int64_t width = w.width(t);
    std::vector<float> y(static_cast<size_t>(rows * width) + 1, kNaN);
    y.back() = 4711;
    for (int64_t r = 0; onto != nullptr && r < rows; ++r)
      std::copy_n(onto->begin() + r * w.rows() + t * w.tile(), width, y.begin() + r * width);
    Int8Product p;
    p.x = x.data();
    p.x_stride = int8_row_bytes(w.cols());
    p.rows = rows;
    p.weights = w.panels(t);
    p.scales = w.scales(t);
    p.depth = int8_depth(w.cols());
    p.width = width;
    p.next = t + 1 < w.tiles() ? w.panels(t + 1) : nullptr;
    p.accumulate = onto != nullptr;
    p.y = y.data();
    kernels.multiply(p);
    EXPECT_EQ(y.back(), 4711) << "wrote behind the end";
    for (int64_t r = 0; r < rows; ++r)
      std::copy_n(y.begin() + r * width, width, all.begin() + r * w.rows() + t * w.tile());
  }
  return all;
}

struct Shape {
  int64_t rows, cols, features, tile;
};
constexpr Shape kShapes[] = {{8, 1, 1, 256},     {8, 16, 33, 32},   {24, 40, 80, 48},
                             {16, 130, 31, 256}, {8, 257, 300, 96}, {128, 512, 256, 256},
                             {8, 6144, 64, 64}};

TEST(Int8Product, SumsAreExact) {
  std::mt19937 rng(2);
  for (const Shape& s : kShapes)
    for (const bool extreme : {false, true}) {
      const Integers w(s.features, s.cols, rng, extreme), x(s.rows, s.cols, rng, extreme);
      const PackedMatrix matrix = packed(w.view(), s.tile);
      const auto rows = quantised_rows(x.x.data(), s.rows, s.cols);
      std::vector<float> residual;
      for (int64_t i = 0; i < s.rows * s.features; ++i)
        residual.push_back(static_cast<float>(i % 1000));
      for (const Int8Kernels* k : all_kernels()) {
        const auto y = product(*k, matrix, rows, s.rows);
        const auto z = product(*k, matrix, rows, s.rows, &residual);
        for (int64_t r = 0; r < s.rows; ++r)
          for (int64_t n = 0; n < s.features; ++n) {
            int64_t sum = 0;
            for (int64_t c = 0; c < s.cols; ++c) sum += x.at(r, c) * w.at(n, c);
            const auto i = static_cast<size_t>(r * s.features + n);
            ASSERT_EQ(y[i], static_cast<float>(sum)) << k->name << " " << r << " " << n;
            ASSERT_EQ(z[i], static_cast<float>(sum) + residual[i])
                << k->name << " " << r << " " << n;
          }
      }
    }
}

// Where unsigned times signed bytes reach their largest sums.
TEST(Int8Product, NeitherSaturatesNorOverflowsAtTheDeepest) {
  std::vector<float> ones(static_cast<size_t>(8 * kInt8MaxDepth), 127.0f);
  const WeightView view{reinterpret_cast<const std::byte*>(ones.data()), DType::kF32, 8,
                        kInt8MaxDepth, "ones"};
  const PackedMatrix matrix = packed(view, 256);
  for (const float sign : {1.0f, -1.0f}) {
    const std::vector<float> x(ones.size(), 127.0f * sign);
    for (const Int8Kernels* k : all_kernels())
      for (const float y : product(*k, matrix, quantised_rows(x.data(), 8, kInt8MaxDepth), 8))
        ASSERT_EQ(y, sign * 127.0f * 127.0f * static_cast<float>(kInt8MaxDepth)) << k->name;
  }
  const WeightView deeper{view.data, DType::kF32, 1, kInt8MaxDepth + 1, "deeper"};
  EXPECT_THROW(packed(deeper, 256), Error);
}

TEST(Int8Product, ScalesRowsAndColumns) {
  std::mt19937 rng(3);
  std::normal_distribution<float> draw;
  const int64_t rows = 24, cols = 200, features = 70;
  std::vector<float> w, x, onto;
  for (int64_t i = 0; i < features * cols; ++i)
    w.push_back(draw(rng) * std::pow(10.0f, static_cast<float>(i / cols % 7 - 3)));
  for (int64_t i = 0; i < rows * cols; ++i)
    x.push_back(draw(rng) * std::pow(10.0f, static_cast<float>(i / cols % 5 - 2)));
  for (int64_t i = 0; i < rows * features; ++i) onto.push_back(draw(rng));
  const WeightView view{reinterpret_cast<const std::byte*>(w.data()), DType::kF32, features, cols,
                        "w"};
  const PackedMatrix matrix = packed(view, 32);
  const auto quantised = quantised_rows(x.data(), rows, cols);
  for (const Int8Kernels* k : all_kernels()) {
    const auto y = product(*k, matrix, quantised, rows, &onto);
    for (int64_t r = 0; r < rows; ++r) {
      const Row row(quantised.data() + static_cast<size_t>(r) * int8_row_bytes(cols), cols);
      for (int64_t n = 0; n < features; ++n) {
        int64_t sum = 0;
        for (int64_t c = 0; c < cols; ++c)
          sum += row.q[static_cast<size_t>(c)] * element(matrix, n, c);
        const double scale = double{row.head.scale} * matrix.scales(n / 32)[n % 32];
        const auto i = static_cast<size_t>(r * features + n);
        const double expected = static_cast<double>(sum) * scale + onto[i];
        ASSERT_NEAR(y[i], expected, 1e-6 * (std::fabs(expected) + std::fabs(onto[i])))
            << k->name << " " << r << " " << n;
      }
    }
  }
}

// Elements times scales are within half a step of the weights.
TEST(Int8Matrix, ElementsAreNearTheWeights) {
  std::mt19937 rng(7);
  std::normal_distribution<float> draw;
  const int64_t cols = 1030, features = 70;
  std::vector<float> w;
  for (int64_t i = 0; i < features * cols; ++i)
    w.push_back(draw(rng) * std::pow(10.0f, static_cast<float>(i / cols % 7 - 3)));
  const WeightView view{reinterpret_cast<const std::byte*>(w.data()), DType::kF32, features, cols,
                        "w"};
  const PackedMatrix matrix = packed(view, 32);
  for (int64_t n = 0; n < features; ++n) {
    const double scale = matrix.scales(n / 32)[n % 32];
    int largest = 0;
    for (int64_t c = 0; c < cols; ++c) {
      const int q = element(matrix, n, c);
      largest = std::max(largest, std::abs(q));
      ASSERT_NEAR(q * scale, w[static_cast<size_t>(n * cols + c)], 0.50001 * scale);
    }
    EXPECT_EQ(largest, 127);
  }
}

TEST(Int8Product, ARowDoesNotDependOnTheOthers) {
  std::mt19937 rng(4);
  const Integers w(300, 96, rng, false), x(128, 96, rng, false);
  const PackedMatrix matrix = packed(w.view(), 256);
  const auto rows = quantised_rows(x.x.data(), 128, 96);
  for (const Int8Kernels* k : all_kernels()) {
    const auto all = product(*k, matrix, rows, 128);
    for (int64_t first = 0; first < 128; first += 8) {
      const std::vector<std::byte> few(
          rows.begin() + first * static_cast<int64_t>(int8_row_bytes(96)),
          rows.begin() + (first + 8) * static_cast<int64_t>(int8_row_bytes(96)));
      const auto some = product(*k, matrix, few, 8);
      EXPECT_EQ(std::memcmp(some.data(), all.data() + first * 300, some.size() * sizeof(float)), 0);
    }
  }
}

TEST(Int8Product, WhatIsNotFiniteStaysInItsRowAndColumn) {
  std::mt19937 rng(5);
  Integers w(40, 64, rng, false), x(8, 64, rng, false);
  w.x[3 * 64 + 9] = kInfinity;
  x.x[5 * 64 + 1] = kNaN;
  const PackedMatrix matrix = packed(w.view(), 256);
  for (const Int8Kernels* k : all_kernels()) {
    const auto y = product(*k, matrix, quantised_rows(x.x.data(), 8, 64), 8);
    for (size_t i = 0; i < y.size(); ++i)
      EXPECT_EQ(std::isnan(y[i]), i / 40 == 5 || i % 40 == 3) << k->name << " " << i;
  }
}

TEST(Int8Matrix, TakesEveryTypeAndIsHalfOfBf16) {
  std::mt19937 rng(6);
  const Integers w(600, 320, rng, false);
  std::vector<uint16_t> bf16, f16;
  for (const float v : w.x) {
    bf16.push_back(to_bf16(v));
    // All integers up to 127 are f16 as they are.
    int exponent = 0;
    const float fraction = std::frexp(std::fabs(v), &exponent);
    f16.push_back(v == 0 ? uint16_t{0}
                         : static_cast<uint16_t>((v < 0 ? 0x8000 : 0) | (exponent + 14) << 10 |
                                                 (static_cast<int>(fraction * 2048) & 1023)));
  }
  WeightView b = w.view(), h = w.view();
  b.data = reinterpret_cast<const std::byte*>(bf16.data());
  b.dtype = DType::kBF16;
  h.data = reinterpret_cast<const std::byte*>(f16.data());
  h.dtype = DType::kF16;
  const PackedMatrix one = packed(w.view(), 256), two = packed(b, 256), three = packed(h, 256);
  ASSERT_EQ(one.tiles(), 3);
  for (int64_t t = 0; t < 3; ++t)
    for (const PackedMatrix* other : {&two, &three}) {
      const auto bytes = static_cast<size_t>(round_up(one.width(t), 32) * 320);
      EXPECT_EQ(std::memcmp(one.panels(t), other->panels(t), bytes), 0);
      EXPECT_EQ(std::memcmp(one.scales(t), other->scales(t),
                            static_cast<size_t>(one.width(t)) * sizeof(float)),
                0);
    }
  EXPECT_EQ(packed_bytes(DType::kI8, 600, 320), 600u * 320 + 600 * 4);
  EXPECT_LT(one.bytes(), packed_bytes(DType::kBF16, 600, 320) * 11 / 20);
}

}  // namespace
}  // namespace diffulex::cpu
