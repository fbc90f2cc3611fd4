// Which accept rule a model family decodes with. The rules themselves are in src/decide; this table
// says which one is whose.
#pragma once

#include <string_view>

#include "decide/state.h"

namespace diffulex {

struct SamplerRule {
  std::string_view family;
  bool shift;         // the row of position p - 1 predicts position p
  bool force_always;  // a block accepts its best token even behind an unfinished block
};

// The rule of a model family. Throws Error(DIFFULEX_E_MODEL_UNSUPPORTED) when no sampler is known
// for it.
const SamplerRule& sampler_for(std::string_view family);

}  // namespace diffulex
