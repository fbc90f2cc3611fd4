// Every dense family on a device, f32 and bf16, against the goldens of tests/data/families: tokens,
// probabilities and entropies of every row, prompts at once and in chunks, blocks on a cached
// prefix, carried rows.
//
//   diffulex_gpu_families_test
#include <cuda_runtime_api.h>

#include <cmath>
#include <cstdio>

#include "cuda/cuda_backend.h"
#include "family_steps.h"
#include "model/checkpoint.h"

namespace {

using namespace diffulex;
using diffulex::testing::FamilyCase;
using diffulex::testing::FamilySteps;
using diffulex::testing::GoldenRow;

// In f32 picks are the golden ones. In bf16 logits are off by up to 3 % of the largest one: a
// probability by a factor of exp(2 * 3 % of it), and near ties may go another way.
struct Bounds {
  double confidence;    // relative
  double entropy;       // nats
  double other_tokens;  // share of rows
};

struct Tally {
  int rows = 0, other_tokens = 0;
  double confidence = 0, entropy = 0;  // the worst

  void add(const decide::Pick& pick, const GoldenRow& golden) {
    ++rows;
    entropy = std::fmax(entropy, std::fabs(pick.entropy - golden.entropy));
    if (!std::isfinite(pick.confidence) || !std::isfinite(pick.entropy)) entropy = INFINITY;
    if (pick.token != golden.token) {
      ++other_tokens;
      return;
    }
    confidence =
        std::fmax(confidence, std::fabs(pick.confidence - golden.confidence) / golden.confidence);
  }
  bool within(const Bounds& bounds) const {
    return rows > 0 && confidence <= bounds.confidence && entropy <= bounds.entropy &&
           other_tokens <= bounds.other_tokens * rows;
  }
};

int test(const char* name, DType dtype, bool batch_invariant) {
  const FamilyCase family(DIFFULEX_TEST_DATA_DIR, name);
  const bool bf16 = dtype == DType::kBF16;
  const diffulex::testing::TempDir dir;
  family.write(dir.path(), bf16);
  const auto checkpoint = Checkpoint::open(dir.path());
  BackendConfig config = diffulex::testing::family_config(checkpoint->arch(), dtype, 1);
  config.batch_invariant = batch_invariant;
  const auto backend = cuda::create(checkpoint->arch(), checkpoint->weights(), config, nullptr);
  Tally tally;
  double largest = 0;
  for (size_t i = 0; i < 2; ++i) {
    const auto scenario = family.scenario(i, bf16 ? "bf16" : "f32");
    largest = std::fmax(largest, scenario.largest);
    FamilySteps(
        family, scenario, checkpoint->arch().mask_token,
        [&](const std::string&, const wire::StepPlan& plan, std::span<const GoldenRow> golden) {
          const StepResult result = backend->execute(plan);
          if (result.picks.size() != golden.size()) tally.entropy = INFINITY;
          for (size_t r = 0; r < golden.size() && r < result.picks.size(); ++r)
            tally.add(result.picks[r], golden[r]);
        })
        .run_all();
  }
  const Bounds bounds =
      bf16 ? Bounds{std::exp(0.06 * largest) - 1, 0.06 * largest, 0.1} : Bounds{1e-3, 1e-3, 0};
  const bool ok = tally.within(bounds);
  std::printf("%s %-26s %s%s: %d rows, %d other tokens, probability within %.2g, entropy %.2g\n",
              ok ? "ok    " : "FAILED", name, bf16 ? "bf16" : "f32",
              batch_invariant ? " batch-invariant" : "", tally.rows, tally.other_tokens,
              tally.confidence, tally.entropy);
  return ok ? 0 : 1;
}

int test_all() {
  int failures = 0;
  for (const char* name : diffulex_oracle::kFamilyCases)
    for (const DType dtype : {DType::kF32, DType::kBF16})
      for (const bool batch_invariant : {false, true})
        failures += test(name, dtype, batch_invariant);
  return failures;
}

}  // namespace

int main() {
  int devices = 0;
  if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
    std::printf("no CUDA device: nothing was tested\n");
    return 77;
  }
  try {
    return test_all() == 0 ? 0 : 1;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
