// docs/add_a_model.md, followed literally: its code is tests/add_a_model, which this test compares
// with the page, and the family it makes computes what the oracle says.
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <sstream>

#include "family_steps.h"
#include "model/aurora.h"
#include "model/checkpoint.h"
#include "model/model_config.h"
#include "unit/expect_error.h"

namespace diffulex {
namespace {

using nlohmann::json;
using testing::FamilyCase;
using testing::FamilySteps;
using testing::GoldenRow;
using testing::read_file;
using testing::TempDir;
using testing::write_file;

constexpr Family kWithAurora[] = {kAurora};

struct Block {
  std::string kind, file, text;
};

// The code blocks that name a file: "```cpp src/model/aurora.h".
std::vector<Block> blocks_of_page() {
  std::istringstream page(read_file(std::string(DIFFULEX_DOCS_DIR) + "/add_a_model.md"));
  std::vector<Block> blocks;
  bool inside = false;
  for (std::string line; std::getline(page, line);) {
    if (!line.starts_with("```")) {
      if (inside) blocks.back().text += line + "\n";
      continue;
    }
    inside = !inside;
    const size_t space = line.find(' ');
    if (inside)
      blocks.push_back({line.substr(3, space == std::string::npos ? space : space - 3),
                        space == std::string::npos ? "" : line.substr(space + 1), ""});
  }
  return blocks;
}

std::string source(const std::string& path) {
  return read_file(std::string(DIFFULEX_SOURCE_DIR) + "/" + path);
}

TEST(AddAModel, ThePagesCodeIsTheCompiledCode) {
  int compared = 0;
  for (const Block& block : blocks_of_page()) {
    if (block.kind != "cpp") continue;
    ASSERT_TRUE(block.file.starts_with("src/model/")) << block.file;
    EXPECT_EQ(block.text, source("tests/add_a_model/" + block.file.substr(4))) << block.file;
    ++compared;
  }
  EXPECT_EQ(compared, 2);
}

// What a line is put between is there.
TEST(AddAModel, ThePagesPlacesExist) {
  int places = 0;
  for (const Block& block : blocks_of_page()) {
    if (block.kind != "diff") continue;
    std::istringstream lines(block.text);
    std::string context;
    bool adds = false;
    for (std::string line; std::getline(lines, line);) {
      adds = adds || line.starts_with("+");
      if (line.starts_with(" ")) context += line.substr(1) + "\n";
    }
    EXPECT_TRUE(adds);
    EXPECT_NE(source(block.file).find(context), std::string::npos) << block.file << ":\n"
                                                                   << context;
    ++places;
  }
  EXPECT_EQ(places, 3);
}

// A checkpoint of Aurora: another one's numbers under its config.
class AuroraCheckpoint : public ::testing::Test {
 protected:
  AuroraCheckpoint() {
    family_.write(dir_.path(), false);
    config_ = family_.config();
    config_["architectures"] = {"AuroraForDiffusion"};
    config_["model_type"] = "aurora";
    config_.erase("block_size");
    config_["block_length"] = 16;
    write_config();
  }
  void write_config() const { write_file(dir_ / "config.json", config_.dump()); }

  FamilyCase family_{DIFFULEX_TEST_DATA_DIR, "sdar_b16"};
  TempDir dir_;
  json config_;
};

TEST_F(AuroraCheckpoint, IsReadByItsPage) {
  const auto checkpoint = Checkpoint::open(dir_.path(), kWithAurora);
  const ArchSpec& arch = checkpoint->arch();
  EXPECT_EQ(arch.family, "aurora");
  EXPECT_EQ(arch.block_size, 16);
  EXPECT_EQ(arch.mask_token, 499);
  EXPECT_EQ(arch.eos_tokens, (std::vector<int32_t>{496, 497}));
  EXPECT_EQ(arch.decoding.strategy, "multi_bd");
  EXPECT_EQ(arch.decoding.buffer_blocks, 2);
  EXPECT_EQ(arch.decoding.accept_threshold, 0.8F);
  EXPECT_EQ(arch.decoding.add_block_threshold, 0.1);
  EXPECT_EQ(arch.decoding.semi_complete_threshold, 0.9);
  EXPECT_FALSE(arch.decoding.shift);
}

TEST_F(AuroraCheckpoint, IsUnknownWithoutItsLine) {
  testing::expect_error(DIFFULEX_E_MODEL_UNSUPPORTED, {"no known model family", "aurora"},
                        [this] { Checkpoint::open(dir_.path()); });
}

TEST_F(AuroraCheckpoint, NamesBadKeys) {
  config_["use_sinks"] = true;
  write_config();
  testing::expect_error(DIFFULEX_E_MODEL_UNSUPPORTED, {"'use_sinks': attention sinks"},
                        [this] { read_model_config(dir_.path(), kWithAurora); });
  config_["block_length"] = "x";
  config_.erase("hidden_size");
  write_config();
  testing::expect_error(DIFFULEX_E_MODEL_FORMAT,
                        {"'block_length' must", "'hidden_size' is missing"},
                        [this] { read_model_config(dir_.path(), kWithAurora); });
}

TEST_F(AuroraCheckpoint, ComputesWhatTheOracleSays) {
  const auto checkpoint = Checkpoint::open(dir_.path(), kWithAurora);
  cpu::CpuBackend backend(checkpoint->arch(), checkpoint->weights(),
                          testing::family_config(checkpoint->arch(), DType::kF32, 2), nullptr);
  int rows = 0;
  for (size_t i = 0; i < 2; ++i) {
    const auto scenario = family_.scenario(i, "f32");
    FamilySteps(
        family_, scenario, checkpoint->arch().mask_token,
        [&](const std::string& way, const wire::StepPlan& plan, std::span<const GoldenRow> golden) {
          const StepResult result = backend.execute(plan);
          ASSERT_EQ(result.picks.size(), golden.size());
          for (size_t r = 0; r < golden.size(); ++r, ++rows) {
            EXPECT_EQ(result.picks[r].token, golden[r].token) << way << ", row " << r;
            EXPECT_NEAR(result.picks[r].entropy, golden[r].entropy, 1e-3);
          }
        })
        .run_all();
  }
  EXPECT_GT(rows, 60);
}

}  // namespace
}  // namespace diffulex
