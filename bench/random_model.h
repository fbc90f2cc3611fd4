// Models of random weights: the shapes of real ones, without their checkpoints.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "model/arch.h"
#include "model/weights.h"

namespace diffulex_bench {

struct ModelShape {
  const char* name;
  int hidden, layers, heads, kv_heads, dim, mlp, vocabulary;

  int query_size() const { return heads * dim; }
  int kv_size() const { return kv_heads * dim; }
  size_t largest_matrix() const;  // elements
  double body_weights() const;    // elements of all matrices but the head
  double head_weights() const;
};

// Null: no shape of that name.
const ModelShape* find_shape(std::string_view name);

// +-[2^-7, 2^-5); the same numbers in every run.
std::vector<uint16_t> random_bf16(size_t count);

// Every matrix is a view of the same numbers, which must outlive the model.
struct RandomModel {
  RandomModel(const ModelShape& shape, std::span<const uint16_t> numbers);

  diffulex::ArchSpec arch;
  diffulex::ModelWeights weights;
};

}  // namespace diffulex_bench
