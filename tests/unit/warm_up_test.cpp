// Steps that a backend runs while it is made: sound plans, of the sizes that were promised.
#include "backend/warm_up.h"

#include <gtest/gtest.h>

#include "backend/step.h"
#include "cpu_harness.h"

namespace diffulex::testing {
namespace {

const wire::StepPlan& plan_in(const flatbuffers::DetachedBuffer& buffer) {
  return *flatbuffers::GetRoot<wire::StepPlan>(buffer.data());
}

BackendConfig config_of(int requests, int window, int rows, int pages) {
  BackendConfig c = small_config();
  c.max_requests = requests;
  c.window_stride = window;
  c.max_tokens = rows;
  c.max_head_rows = requests * window;
  c.max_pages_per_request = pages;
  c.kv_pages = 1;
  return c;
}

const BackendConfig kConfigs[] = {config_of(1, 1, 1, 1), config_of(3, 8, 24, 2),
                                  config_of(4, 32, 300, 32), config_of(5, 96, 512, 7),
                                  config_of(2, 1030, 2060, 1)};

TEST(WarmUp, PlansAreSoundAndRunOnOnePage) {
  const auto model = load_tiny(std::string(DIFFULEX_MODELS_DIR) + "/tiny-sdar");
  for (const BackendConfig& config : kConfigs) {
    const auto backend = cpu::create(model->arch, model->weights, config, nullptr);
    for (const WarmUpStep& step : warm_up_steps(config)) {
      const auto buffer = warm_up_plan(model->arch, config, step);
      const StepResult result = backend->begin(plan_in(buffer), 0);
      EXPECT_EQ(result.requests.size(), static_cast<size_t>(step.requests));
      EXPECT_EQ(result.picks.size(),
                step.denoises ? static_cast<size_t>(step.requests * step.rows) : 0u);
      for (const RequestRow& row : result.requests) {
        if (row.context_len > 0) continue;  // nobody has written what it reads
        for (const decide::Pick& pick : result.picks.subspan(row.head_begin, row.head_count))
          EXPECT_GE(pick.token, 0);
      }
    }
  }
}

TEST(WarmUp, TheLargestStepsFillTheirLimits) {
  for (const BackendConfig& config : kConfigs) {
    const std::vector<WarmUpStep> steps = warm_up_steps(config);
    ASSERT_EQ(steps.size(), 4u);
    const int cached = config.max_pages_per_request * config.page_size;
    EXPECT_GE(steps[0].rows * steps[0].requests,
              std::min(config.max_tokens, cached * config.max_requests) - steps[0].requests);
    for (const int i : {1, 2}) {
      EXPECT_EQ(steps[static_cast<size_t>(i)].requests, config.max_requests);
      EXPECT_EQ(steps[static_cast<size_t>(i)].rows, config.window_stride);
      EXPECT_EQ(steps[static_cast<size_t>(i)].context, cached);
    }
    EXPECT_GT(steps[2].temperature, 0);
    EXPECT_EQ(steps[3].requests, 1);
  }
}

// The second step of a chain may store the window's first blocks.
TEST(WarmUp, DecodingStepsCanBeFollowed) {
  const auto model = load_tiny(std::string(DIFFULEX_MODELS_DIR) + "/tiny-sdar");
  for (const BackendConfig& config : kConfigs) {
    const auto backend = cpu::create(model->arch, model->weights, config, nullptr);
    const auto buffer = warm_up_plan(model->arch, config, decode_step(config, config.max_requests));
    backend->begin(plan_in(buffer), 1);
    EXPECT_NO_THROW((void)backend->next(false));
  }
}

}  // namespace
}  // namespace diffulex::testing
