#include "sampler/sampler.h"

#include <string>

#include "base/error.h"

namespace diffulex {
namespace {

constexpr SamplerRule kRules[] = {
    {.family = "sdar", .shift = false, .force_always = false},
    {.family = "llada", .shift = false, .force_always = false},
    {.family = "dream", .shift = true, .force_always = false},
    {.family = "dream_reasoner", .shift = false, .force_always = false},
    {.family = "stable_diffcoder", .shift = false, .force_always = true},
};

}  // namespace

const SamplerRule& sampler_for(std::string_view family) {
  for (const SamplerRule& rule : kRules)
    if (rule.family == family) return rule;
  throw Error(DIFFULEX_E_MODEL_UNSUPPORTED,
              "no sampler is known for the model family '" + std::string(family) + "'");
}

}  // namespace diffulex
