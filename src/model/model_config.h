// Everything about a checkpoint that its small files tell. No weight file is touched.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "model/arch.h"
#include "model/family.h"

namespace diffulex {

struct ModelConfig {
  const Family* family = nullptr;
  ArchSpec arch;
  std::vector<std::string> warnings;
};

// Throws Error: DIFFULEX_E_IO, DIFFULEX_E_MODEL_FORMAT, DIFFULEX_E_MODEL_UNSUPPORTED or
// DIFFULEX_E_TOKENIZER.
ModelConfig read_model_config(const std::string& dir, std::span<const Family> known = families());

}  // namespace diffulex
