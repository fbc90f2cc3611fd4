// What the device benchmark runs: one engine of one shape with all its requests in flight.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "random_model.h"
#include "strategy/strategy.h"

namespace diffulex_bench {

constexpr int kPromptTokens = 256;
constexpr int kOutputTokens = 512;

struct EngineCase {
  const ModelShape* model = nullptr;
  int block = 0, buffer = 0, requests = 0;
  double goal_ms = 0;  // of a step on one H100; 0 = none

  int full_rows() const { return block * buffer * requests; }
  std::string name() const;  // "1.7b:32x4x16"
};

// The cases with goals, and two small ones that show the host's side.
std::vector<EngineCase> default_cases();
// "1.7b:32x4x16,8b:32x1x1". Throws std::invalid_argument.
std::vector<EngineCase> parse_cases(std::string_view text);

// One request of `prompt` tokens at a time or many; max_batched 0: the engine's own default.
diffulex::EngineShape engine_shape(const EngineCase& c, int prompt, int max_batched);
diffulex::BackendConfig backend_config(const diffulex::EngineShape& shape);

}  // namespace diffulex_bench
