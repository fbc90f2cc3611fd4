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
};

using TensorTable = std::vector<TensorSlot>;

// The names of all Llama- and Qwen-like families. Sizes weights->layers; the table points into it.
TensorTable llama_tensors(const ArchSpec& arch, ModelWeights* weights);

}  // namespace diffulex
