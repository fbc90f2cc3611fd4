// The CPU backend's logits against the golden logits of tiny-sdar.
#include <gtest/gtest.h>

#include <cmath>

#include "unit/cpu_harness.h"

namespace diffulex {
namespace {

using testing::PlanBuilder;

struct Golden {
  std::vector<int32_t> ids;
  int32_t start;
  const diffulex_oracle::Tensor* logits;  // [ids.size() - start, vocabulary]
};

class CpuGolden : public ::testing::Test {
 protected:
  CpuGolden()
      : model(testing::load_tiny(std::string(DIFFULEX_MODELS_DIR) + "/tiny-sdar")),
        golden(diffulex_oracle::read_safetensors(std::string(DIFFULEX_TEST_DATA_DIR) +
                                                 "/tiny-sdar/golden_logits.safetensors")) {}

  Golden get(const std::string& name) const {
    Golden g;
    const auto& ids = golden.at(name + "_ids");
    for (int64_t i = 0; i < ids.size(); ++i) g.ids.push_back(static_cast<int32_t>(ids.at(i)));
    g.start = static_cast<int32_t>(golden.at(name + "_start").at(0));
    g.logits = &golden.at(name + "_logits");
    return g;
  }

  // Largest difference of the heads' logits from the golden rows; also counts rows whose greedy
  // token differs.
  double worst(cpu::CpuBackend& backend, const wire::StepPlan& plan, const Golden& g,
               double tolerance, int* other_tokens) {
    std::vector<float> logits(plan.head_rows()->size() * 1024);
    backend.execute_tapped(plan, logits.data());
    const size_t rows = g.ids.size() - static_cast<size_t>(g.start);
    EXPECT_EQ(plan.head_rows()->size(), rows);
    double most = 0;
    for (size_t r = 0; r < rows; ++r) {
      int best = 0, expected = 0;
      for (int i = 0; i < 1024; ++i) {
        const float x = logits[r * 1024 + static_cast<size_t>(i)];
        const float y = g.logits->at(static_cast<int64_t>(r * 1024) + i);
        if (!std::isfinite(x)) return INFINITY;
        most = std::max(most, static_cast<double>(std::fabs(x - y)));
        if (x > logits[r * 1024 + static_cast<size_t>(best)]) best = i;
        if (y > g.logits->at(static_cast<int64_t>(r * 1024) + expected)) expected = i;
      }
      // Rounding may swap two tokens that are nearly equal.
      const float gap = g.logits->at(static_cast<int64_t>(r * 1024) + expected) -
                        g.logits->at(static_cast<int64_t>(r * 1024) + best);
      *other_tokens += gap > tolerance ? 1 : 0;
    }
    return most;
  }

  void check(DType dtype, double tolerance) {
    for (const int threads : {1, 3}) {
      cpu::CpuBackend backend(model->arch, model->weights, testing::small_config(dtype, threads),
                              nullptr);
      for (int p = 0; p < 4; ++p) {
        const std::string name = "p" + std::to_string(p);
        int other = 0;
        const Golden prefill = get(name + ".prefill"), denoise = get(name + ".denoise");
        PlanBuilder whole;
        whole.add(0, prefill.ids, 0, 0, static_cast<size_t>(prefill.start));
        EXPECT_LT(worst(backend, whole.finish(), prefill, tolerance, &other), tolerance) << name;

        // Once in one piece, once on top of a cached prefix.
        PlanBuilder again;
        again.add(0, denoise.ids, 0, 0, static_cast<size_t>(denoise.start));
        EXPECT_LT(worst(backend, again.finish(), denoise, tolerance, &other), tolerance) << name;
        const int32_t cached = denoise.start / 8 * 8;
        PlanBuilder first, second;
        first.add(1, {denoise.ids.begin(), denoise.ids.begin() + cached}, 0, cached,
                  static_cast<size_t>(cached), testing::iota(40, 20));
        backend.execute(first.finish());
        second.add(1, {denoise.ids.begin() + cached, denoise.ids.end()}, cached, 0,
                   static_cast<size_t>(denoise.start - cached));
        EXPECT_LT(worst(backend, second.finish(), denoise, tolerance, &other), tolerance) << name;
        EXPECT_EQ(other, 0) << name;
      }
    }
  }

  std::unique_ptr<testing::TestModel> model;
  std::map<std::string, diffulex_oracle::Tensor> golden;
};

TEST_F(CpuGolden, F32) { check(DType::kF32, 1e-3); }

TEST_F(CpuGolden, Bf16) {
  if (cpu::best_weight_dtype() != DType::kBF16) GTEST_SKIP() << "no bf16 on this processor";
  check(DType::kBF16, 0.4);
}

TEST_F(CpuGolden, I8) { check(DType::kI8, 1.0); }

}  // namespace
}  // namespace diffulex
