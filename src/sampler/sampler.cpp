#include "sampler/sampler.h"

#include <string>

#include "base/error.h"
#include "model/family.h"

namespace diffulex {

SamplerRule sampler_for(const ArchSpec& arch) {
  return {arch.family, arch.decoding.shift, arch.decoding.force_always};
}

SamplerRule sampler_for(std::string_view family) {
  for (const Family& known : families()) {
    if (known.name != family || !known.supported()) continue;
    return {known.name, known.decoding.shift, known.decoding.force_always};
  }
  throw Error(DIFFULEX_E_MODEL_UNSUPPORTED,
              "no sampler is known for the model family '" + std::string(family) + "'");
}

}  // namespace diffulex
