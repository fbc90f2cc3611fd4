// Which accept rule a model family decodes with. The rules themselves are in src/decide; the
// family's page in src/model says which one is its own.
#pragma once

#include <string_view>

#include "decide/state.h"
#include "model/arch.h"

namespace diffulex {

struct SamplerRule {
  std::string_view family;
  bool shift;         // the row of position p - 1 predicts position p
  bool force_always;  // a block accepts its best token even behind an unfinished block
};

SamplerRule sampler_for(const ArchSpec& arch);
// Of a family by its name. Throws Error(DIFFULEX_E_MODEL_UNSUPPORTED) when it is not supported.
SamplerRule sampler_for(std::string_view family);

}  // namespace diffulex
