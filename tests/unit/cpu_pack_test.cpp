// Rows of every source type in every layout, element by element; pages of files are given back.
#include <gtest/gtest.h>

#include <fstream>
#include <limits>
#include <random>

#include "backend/cpu/pack_rows.h"
#include "backend/cpu/packed_matrix.h"
#include "cpu_harness.h"
#include "model/checkpoint.h"
#include "safetensors_writer.h"

namespace diffulex {
namespace {

using cpu::pack_rows;
using cpu::SourceRows;
using cpu::TileLayout;

// Offsets as of a blocked layout: blocks of `width` rows, in which `pair` columns of a row follow
// one another.
TileLayout blocked(int64_t rows, int64_t cols, int64_t width, int64_t pair) {
  TileLayout layout;
  const int64_t padded = (cols + pair - 1) / pair * pair;
  for (int64_t n = 0; n < rows; ++n)
    layout.by_n.push_back(static_cast<uint32_t>(n / width * width * padded + n % width * pair));
  for (int64_t k = 0; k < cols; ++k)
    layout.by_k.push_back(static_cast<uint32_t>(k / pair * width * pair + k % pair));
  return layout;
}

std::vector<float> random_values(size_t count) {
  std::mt19937 random(5);
  std::normal_distribution<float> draw(0, 1);
  std::vector<float> values(count);
  for (float& value : values) value = draw(random);
  values[count / 2] = std::numeric_limits<float>::infinity();
  return values;
}

// What the tile's type makes of a number that the source's type holds.
uint32_t element_of(float value, DType source, DType dtype) {
  std::string bytes = testing::encode({value}, source);
  const float held = cpu::to_float(reinterpret_cast<const std::byte*>(bytes.data()), source, 0);
  if (dtype == DType::kBF16) return testing::to_bf16(held);
  uint32_t bits = 0;
  std::memcpy(&bits, &held, sizeof(bits));
  return bits;
}

void check_packing(DType source, DType dtype, int64_t rows, int64_t cols, int64_t width,
                   int64_t pair, bool units) {
  SCOPED_TRACE(::testing::Message() << name_of(source) << " to " << name_of(dtype) << " [" << rows
                                    << ", " << cols << "] in blocks of " << width << " x " << pair);
  TileLayout layout = blocked(rows + 3, cols, width, pair);
  layout.find_units(dtype);
  EXPECT_EQ(!layout.unit_by_k.empty(), units);
  std::vector<float> values = random_values(static_cast<size_t>(rows * cols));
  if (source == DType::kF16) std::replace(values.begin(), values.end(), INFINITY, 3.0f);
  const std::string bytes = "x" + testing::encode(values, source);  // at an odd address
  cpu::Buffer tile(static_cast<size_t>((rows + 3 + width) * (cols + pair)) * size_of(dtype));
  tile.zero();
  pack_rows({reinterpret_cast<const std::byte*>(bytes.data()) + 1, source, cols, rows}, layout,
            dtype, 3, tile.as());
  for (int64_t n = 0; n < rows; ++n)
    for (int64_t k = 0; k < cols; ++k) {
      uint32_t found = 0;
      const size_t at =
          layout.by_n[static_cast<size_t>(n + 3)] + layout.by_k[static_cast<size_t>(k)];
      std::memcpy(&found, tile.as() + at * size_of(dtype), size_of(dtype));
      ASSERT_EQ(found, element_of(values[static_cast<size_t>(n * cols + k)], source, dtype))
          << n << ", " << k;
    }
}

TEST(CpuPack, PutsEveryElementInItsPlace) {
  for (const DType source : {DType::kF32, DType::kF16, DType::kBF16})
    for (const auto& [rows, cols] :
         {std::pair<int64_t, int64_t>{64, 64}, {37, 50}, {1, 2}, {16, 1100}, {80, 33}}) {
      check_packing(source, DType::kBF16, rows, cols, 64, 2, cols % 2 == 0);
      check_packing(source, DType::kBF16, rows, cols, 16, 2, cols % 2 == 0);
      check_packing(source, DType::kBF16, rows, cols, 7, 2, cols % 2 == 0);
      check_packing(source, DType::kBF16, rows, cols, 64, 1, false);
      check_packing(source, DType::kF32, rows, cols, 64, 1, true);
      check_packing(source, DType::kF32, rows, cols, 5, 1, true);
    }
}

TEST(CpuPack, ConvertsEveryHalf) {
  std::vector<uint16_t> halves(1 << 16);
  for (size_t i = 0; i < halves.size(); ++i) halves[i] = static_cast<uint16_t>(i);
  const auto* const bytes = reinterpret_cast<const std::byte*>(halves.data());
  std::vector<float> floats(halves.size());
  cpu::convert_elements(bytes, DType::kF16, static_cast<int64_t>(halves.size()), DType::kF32,
                        floats.data());
  for (size_t i = 0; i < halves.size(); ++i) {
    const float wanted = cpu::to_float(bytes, DType::kF16, static_cast<int64_t>(i));
    if (std::isnan(wanted))
      ASSERT_TRUE(std::isnan(floats[i])) << i;
    else
      ASSERT_EQ(floats[i], wanted) << i;
  }
}

TEST(CpuPack, RoundsToNearestEvenAndKeepsNaN) {
  const std::vector<float> values = {1.00390625f,   1.01171875f, -1.00390625f, 3.4e38f, 1e-40f,
                                     std::nanf(""), -0.0f,       INFINITY,     1.0f};
  std::vector<uint16_t> found(values.size());
  cpu::convert_elements(reinterpret_cast<const std::byte*>(values.data()), DType::kF32,
                        static_cast<int64_t>(values.size()), DType::kBF16, found.data());
  for (size_t i = 0; i < values.size(); ++i) {
    if (std::isnan(values[i]))
      EXPECT_TRUE(std::isnan(cpu::from_bf16(found[i])));
    else
      EXPECT_EQ(found[i], cpu::to_bf16(values[i])) << values[i];
  }
  EXPECT_EQ(found[0], 0x3F80);  // a tie, down to even
  EXPECT_EQ(found[1], 0x3F82);  // a tie, up to even
}

// Kilobytes of a mapping that are in memory.
int64_t resident_kb(const std::string& file) {
  std::ifstream in("/proc/self/smaps");
  bool inside = false;
  for (std::string line; std::getline(in, line);) {
    if (line.find('-') < line.find(' ') && line.find(':') > line.find(' '))
      inside = line.ends_with(file);
    if (inside && line.starts_with("Rss:")) return std::strtoll(line.c_str() + 4, nullptr, 10);
  }
  return -1;
}

// Of a checkpoint that has been packed nothing but a page here and there stays mapped in memory.
TEST(CpuPack, GivesThePagesOfTheFileBack) {
  const testing::TempDir dir;
  testing::TinySdar model;
  model.hidden_size = 512;
  model.mlp_size = 2048;
  model.heads = 8;
  model.head_dim = 64;
  model.write(dir.path());
  const auto checkpoint = Checkpoint::open(dir.path());
  const cpu::CpuBackend backend(checkpoint->arch(), checkpoint->weights(),
                                testing::small_config(cpu::best_weight_dtype(), 2), nullptr);
  const int64_t left = resident_kb("model.safetensors");
  ASSERT_GE(left, 0);
  EXPECT_LT(left * 1024 * 8, static_cast<int64_t>(checkpoint->weight_bytes()));
}

}  // namespace
}  // namespace diffulex
