// Everything about a checkpoint that its small files tell. No weight file is touched.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "base/problem_list.h"
#include "model/arch.h"
#include "model/family.h"

namespace diffulex {

struct ModelConfig {
  const Family* family = nullptr;  // null: config.json does not tell what the tensors are
  ArchSpec arch;                   // token ids only where there is no problem
  bool quantized = false;
  std::vector<std::string> warnings;
};

// Adds to *problems what is wrong with config.json, generation_config.json and the tokenizer's
// files, and goes on as far as it makes sense.
ModelConfig read_model_config(const std::string& dir, std::span<const Family> known,
                              ProblemList* problems);

// Throws Error: DIFFULEX_E_IO, DIFFULEX_E_MODEL_FORMAT, DIFFULEX_E_MODEL_UNSUPPORTED or
// DIFFULEX_E_TOKENIZER.
ModelConfig read_model_config(const std::string& dir, std::span<const Family> known = families());

}  // namespace diffulex
