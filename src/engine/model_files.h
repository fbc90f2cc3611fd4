// The files that an engine reads, opened and checked together.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/problem_list.h"
#include "model/checkpoint.h"
#include "text/tokenizer.h"

namespace diffulex {

struct ModelFiles {
  std::shared_ptr<Checkpoint> checkpoint;
  std::shared_ptr<const text::Tokenizer> tokenizer;  // null: the model has none
  std::vector<std::string> warnings;                 // those of the checkpoint included
};

// Throws one Error that tells everything that is wrong with both, and what was in *problems before.
// A model without a tokenizer is sound, a tokenizer_dir of its own without one is not.
// known: as for Checkpoint::open.
ModelFiles open_model_files(const std::string& model_dir, const std::string& tokenizer_dir,
                            const ModelConfig* known, ProblemList* problems);

}  // namespace diffulex
