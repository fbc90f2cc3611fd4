// Views of a checkpoint's tensors by role. They borrow the mapped file: the Checkpoint that made
// them must outlive them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "base/dtype.h"

namespace diffulex {

// A row-major matrix [rows, cols] or a vector [rows] (cols = 1). data == nullptr: the model has no
// such tensor.
struct WeightView {
  const std::byte* data = nullptr;
  DType dtype = DType::kBF16;
  int64_t rows = 0;
  int64_t cols = 1;
  std::string name;     // tensor name in the file, for messages and progress
  bool mapped = false;  // data is a MappedFile's: its pages may be given back once they are read

  explicit operator bool() const { return data != nullptr; }
  size_t bytes() const {
    return static_cast<size_t>(rows) * static_cast<size_t>(cols) * size_of(dtype);
  }
};

struct LayerWeights {
  WeightView input_norm;              // [H]
  WeightView q, k, v;                 // [NH*D, H], [NKV*D, H], [NKV*D, H]
  WeightView q_bias, k_bias, v_bias;  // [rows of q, k, v] or absent
  WeightView q_norm, k_norm;          // [D] or absent
  WeightView o, o_bias;               // [H, NH*D], [H] or absent
  WeightView post_norm;               // [H]
  WeightView gate, up;                // [I, H]
  WeightView down;                    // [H, I]
  WeightView gate_bias, up_bias;      // [I] or absent
  WeightView down_bias;               // [H] or absent
};

struct ModelWeights {
  WeightView embedding;  // [V, H]; spare rows of the file are left out
  std::vector<LayerWeights> layers;
  WeightView final_norm;  // [H]
  WeightView head;        // [V, H]; the embedding again when tied
};

}  // namespace diffulex
