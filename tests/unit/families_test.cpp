// Every dense family and variant: what is read of its files, and the CPU backend's forward passes,
// against goldens that were computed elsewhere (tests/oracle/families.py).
#include <gtest/gtest.h>

#include <cmath>

#include "family_steps.h"
#include "model/checkpoint.h"
#include "sampler/sampler.h"

namespace diffulex {
namespace {

using nlohmann::json;
using testing::FamilyCase;
using testing::FamilySteps;
using testing::GoldenRow;
using testing::TempDir;

class Families : public ::testing::TestWithParam<const char*> {
 protected:
  // bf16: of the file.
  std::shared_ptr<Checkpoint> open(bool bf16) {
    family_.write(dir_.path(), bf16);
    return Checkpoint::open(dir_.path());
  }

  struct Bounds {
    double logits;      // of the scenario's largest one
    double confidence;  // relative; 0: picks are not looked at
  };

  // Both scenarios in all ways, with weights of the file in `file` and computing in `dtype`.
  void check(const std::string& file, DType dtype, const Bounds& bounds) {
    const std::shared_ptr<Checkpoint> checkpoint = open(file == "bf16");
    const ArchSpec& arch = checkpoint->arch();
    for (const int threads : {1, 3}) {
      cpu::CpuBackend backend(arch, checkpoint->weights(),
                              testing::family_config(arch, dtype, threads), nullptr);
      for (size_t i = 0; i < 2; ++i) {
        const auto scenario = family_.scenario(i, file);
        FamilySteps(family_, scenario, arch.mask_token,
                    [&](const std::string& way, const wire::StepPlan& plan,
                        std::span<const GoldenRow> golden) {
                      SCOPED_TRACE(way + ", threads " + std::to_string(threads));
                      compare(backend, plan, golden, arch.vocab_size, scenario.largest, bounds);
                    })
            .run_all();
      }
    }
    EXPECT_GT(rows_, 60);
  }

  void compare(cpu::CpuBackend& backend, const wire::StepPlan& plan,
               std::span<const GoldenRow> golden, int vocabulary, double largest,
               const Bounds& bounds) {
    ASSERT_EQ(plan.head_rows()->size(), golden.size());
    std::vector<float> logits(golden.size() * static_cast<size_t>(vocabulary));
    const StepResult result = backend.execute_tapped(plan, logits.data());
    double most = 0;
    for (size_t r = 0; r < golden.size(); ++r, ++rows_) {
      const GoldenRow& g = golden[r];
      const float* const line = logits.data() + r * static_cast<size_t>(vocabulary);
      double sum = 0;
      for (int v = 0; v < vocabulary; ++v) sum += std::exp(static_cast<double>(line[v]));
      most = std::max(most, std::fabs(std::log(sum) - g.log_sum));
      for (int c = 0; c < GoldenRow::kColumns; ++c)
        most = std::max(most, std::fabs(line[g.column(c, vocabulary)] - g.logits[c]));
      if (bounds.confidence == 0) continue;
      const decide::Pick& pick = result.picks[r];
      EXPECT_EQ(pick.token, g.token) << "row " << r;
      EXPECT_NEAR(pick.confidence, g.confidence, bounds.confidence * g.confidence) << "row " << r;
      EXPECT_NEAR(pick.entropy, g.entropy, bounds.confidence) << "row " << r;
    }
    EXPECT_LE(most, bounds.logits * largest);
  }

  FamilyCase family_{DIFFULEX_TEST_DATA_DIR, GetParam()};
  TempDir dir_;
  int rows_ = 0;
};

TEST_P(Families, HasTheOraclesNumbers) {
  for (const auto& [name, expected] : family_.bit_sums().items()) {
    uint64_t sum = 0;
    for (const float x : family_.values(name)) {
      uint32_t bits = 0;
      std::memcpy(&bits, &x, sizeof bits);
      sum += bits;
    }
    EXPECT_EQ(sum, expected.get<uint64_t>()) << name;
  }
}

TEST_P(Families, IsReadAsItIs) {
  const std::shared_ptr<Checkpoint> checkpoint = open(false);
  const ArchSpec& arch = checkpoint->arch();
  const json& e = family_.expect();
  EXPECT_EQ(arch.family, e["family"]);
  EXPECT_EQ(arch.vocab_size, 512);
  EXPECT_EQ(arch.token_count, 500);
  EXPECT_EQ(arch.mask_token, e["mask"]);
  EXPECT_EQ(arch.eos_tokens, e["eos"].get<std::vector<int32_t>>());
  EXPECT_EQ(arch.bos_token, e["bos"]);
  EXPECT_EQ(arch.pad_token, e["pad"]);
  EXPECT_EQ(arch.block_size, e["block_size"]);
  EXPECT_EQ(arch.decoding.strategy, e["strategy"].get<std::string>());
  EXPECT_EQ(arch.decoding.buffer_blocks, e["buffer_blocks"]);
  EXPECT_FLOAT_EQ(arch.decoding.accept_threshold, e["accept_threshold"]);
  EXPECT_EQ(arch.decoding.add_block_threshold, e["add_block_threshold"]);
  EXPECT_EQ(arch.decoding.semi_complete_threshold, e["semi_complete_threshold"]);
  EXPECT_EQ(arch.decoding.token_stability_threshold, e["token_stability_threshold"]);
  EXPECT_EQ(arch.decoding.force_always, e["force_always"]);
  EXPECT_EQ(arch.decoding.shift, e["shift"]);
  EXPECT_EQ(sampler_for(arch).shift, sampler_for(arch.family).shift);
  EXPECT_EQ(checkpoint->weights().embedding.rows, 512);
  EXPECT_EQ(checkpoint->weights().head.rows, 512);
}

TEST_P(Families, ComputesInF32) { check("f32", DType::kF32, {1e-4, 1e-3}); }
TEST_P(Families, ComputesInF32OfABf16File) { check("bf16", DType::kF32, {1e-4, 1e-3}); }

TEST_P(Families, ComputesInBf16) {
  if (cpu::best_weight_dtype() != DType::kBF16) GTEST_SKIP() << "no bf16 on this processor";
  check("bf16", DType::kBF16, {3e-2, 0});
}

// Weights and activations of these models have 127 steps to their largest value, no two layers
// alike in size: errors are those of rounding, not of outliers.
TEST_P(Families, ComputesInInt8) { check("f32", DType::kI8, {6e-2, 0}); }

INSTANTIATE_TEST_SUITE_P(Dense, Families, ::testing::ValuesIn(diffulex_oracle::kFamilyCases),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace diffulex
