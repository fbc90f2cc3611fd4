// Which tensors a checkpoint must hold, under which names, and where their views go.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "model/arch.h"
#include "model/weights.h"

namespace diffulex {

struct TensorSlot {
  std::string name;
  std::vector<int64_t> shape;  // one or two sizes
  WeightView* view;            // in the ModelWeights that the table was made for
  int64_t most_rows = 0;       // what the file holds may have so many; those behind are left out
};

using TensorTable = std::vector<TensorSlot>;

// The names of all Llama- and Qwen-like families. Sizes weights->layers; the table points into it.
TensorTable llama_tensors(const ArchSpec& arch, ModelWeights* weights);

// The same with the tensors named as OLMo does.
TensorTable olmo_tensors(const ArchSpec& arch, ModelWeights* weights);

}  // namespace diffulex
