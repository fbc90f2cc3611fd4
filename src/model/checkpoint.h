// A checkpoint directory, opened and checked: every tensor the family needs is there, and nothing
// else.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/problem_list.h"
#include "io/safetensors.h"
#include "model/arch.h"
#include "model/model_config.h"
#include "model/weights.h"

namespace diffulex {

// What config.json and the tokenizer's files tell; touches no weight file. tied_embeddings is the
// file's flag: only opening the checkpoint shows whether the weights agree.
ArchSpec read_arch(const std::string& dir);

class Checkpoint {
 public:
  // Throws one Error that names everything that is wrong: in the small files, the index and the
  // weight files, and all missing, unexpected, misshaped and unusable tensors.
  static std::shared_ptr<Checkpoint> open(const std::string& dir,
                                          std::span<const Family> families = diffulex::families());
  // Adds it to *problems instead, and returns null then. known: what the small files of the
  // directory say, where they have been read without a problem; or null.
  static std::shared_ptr<Checkpoint> open(const std::string& dir, const ModelConfig* known,
                                          ProblemList* problems);

  const ArchSpec& arch() const noexcept { return arch_; }
  const ModelWeights& weights() const noexcept { return weights_; }
  uint64_t weight_bytes() const noexcept { return weight_bytes_; }  // a tied head counts once
  const std::vector<std::string>& warnings() const noexcept { return warnings_; }

  // For a backend that has copied the weights: the mapping stays valid, its memory is given back.
  void release_pages() const noexcept;

 private:
  class Opener;
  Checkpoint() = default;
  static std::shared_ptr<Checkpoint> open(const std::string& dir, const ModelConfig* known,
                                          std::span<const Family> families, ProblemList* problems);

  ArchSpec arch_;
  std::vector<SafetensorsFile> files_;
  ModelWeights weights_;
  uint64_t weight_bytes_ = 0;
  std::vector<std::string> warnings_;
};

}  // namespace diffulex
