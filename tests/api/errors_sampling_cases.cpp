// Requests that ask for something impossible about how tokens are chosen.
#include <cmath>
#include <limits>

#include "errors_engine.h"

namespace diffulex_tests::errors {
namespace {

const std::vector<diffulex_token> kPrompt = {1, 2, 3};

Outcomes penalties() {
  Outcomes outcomes;
  for (const float value : {-0.5f, 100.5f, std::numeric_limits<float>::quiet_NaN()}) {
    diffulex_request_params params = params_of(4);
    params.repetition_penalty = value;
    outcomes.push_back(submit_fails(survivor(), kPrompt, &params));
  }
  return outcomes;
}

Outcomes biases(const std::vector<diffulex_logit_bias>& bias) {
  diffulex_request_params params = params_of(4);
  params.logit_bias = bias.data();
  params.logit_bias_count = bias.size();
  return {submit_fails(survivor(), kPrompt, &params)};
}

Outcomes null_bias() {
  diffulex_request_params params = params_of(4);
  params.logit_bias_count = 2;
  return {submit_fails(survivor(), kPrompt, &params)};
}

Outcomes unknown_confidence() {
  const diffulex_kv option{"confidence", "luck"};
  diffulex_request_params params = params_of(4);
  params.strategy_options = &option;
  params.strategy_option_count = 1;
  return Outcomes{submit_fails(survivor(), kPrompt, &params)} + config_fails([&](auto& config) {
           config.strategy_options = &option;
           config.strategy_option_count = 1;
         });
}

Outcomes prompt_beyond_forward() {
  Session session({{"cpu_threads", "1"}, {"max_batched_tokens", "64"}, {"max_requests", "1"}}, {},
                  [](auto& config) { config.strategy = "d2f"; });
  return {submit_fails(session, std::vector<diffulex_token>(57, 5), nullptr)};
}

}  // namespace

void add_sampling_cases(Cases* cases) {
  Cases& c = *cases;
  c["repetition-penalty"] = penalties;
  c["logit-bias-range"] = [] { return biases({{5, 1}, {-1, 1}}) + biases({{1024, 1}}); };
  c["logit-bias-twice"] = [] { return biases({{5, 1}, {6, 1}, {5, 1}}); };
  c["logit-bias-value"] = [] {
    return biases({{5, std::numeric_limits<float>::quiet_NaN()}}) + biases({{5, INFINITY}});
  };
  c["logit-bias-null"] = null_bias;
  c["confidence-unknown"] = unknown_confidence;
  c["prompt-beyond-forward"] = prompt_beyond_forward;
}

}  // namespace diffulex_tests::errors
