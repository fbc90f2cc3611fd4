#include "sampler/sampler.h"

#include <string>

#include "base/error.h"

namespace diffulex {
namespace {

constexpr SamplerRule kRules[] = {
    {.family = "sdar", .shift = false, .force_always = false},
};

}  // namespace

const SamplerRule& sampler_for(std::string_view family) {
  for (const SamplerRule& rule : kRules)
    if (rule.family == family) return rule;
  throw Error(DIFFULEX_E_MODEL_UNSUPPORTED, "no sampler is known for the model family '" + std::string(family) + "'");
}

}  // namespace diffulex
