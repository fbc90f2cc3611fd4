// A model's weights in the form the CPU backend computes with.
#pragma once

#include <cstdint>
#include <vector>

#include "backend/backend.h"
#include "backend/cpu/kernels.h"
#include "backend/cpu/matmul.h"
#include "backend/cpu/team.h"
#include "model/arch.h"

namespace diffulex::cpu {

inline constexpr int64_t kTile =
    256;  // output features of a tile; gate_up: as many of gate and of up

// Output features of a tile of PackedLayer::qkv: whole heads.
constexpr int64_t qkv_tile(int64_t dim) { return dim > kTile ? dim : kTile / dim * dim; }

struct PackedLayer {
  PackedMatrix qkv;      // [(heads + 2 kv_heads) * dim, hidden]; a tile holds whole heads
  PackedMatrix output;   // [hidden, heads * dim]
  PackedMatrix gate_up;  // [2 * mlp, hidden]; a tile holds equally many rows of gate, then of up
  PackedMatrix down;     // [hidden, mlp]
  // f32 vectors in PackedModel::vectors_; null where the model has none.
  const float* input_norm = nullptr;   // [hidden]
  const float* post_norm = nullptr;    // [hidden]
  const float* q_norm = nullptr;       // [dim]
  const float* k_norm = nullptr;       // [dim]
  const float* qkv_bias = nullptr;     // [rows of qkv]
  const float* output_bias = nullptr;  // [hidden]
  const float* gate_bias = nullptr;    // [mlp]
  const float* up_bias = nullptr;      // [mlp]
  const float* down_bias = nullptr;    // [hidden]
};

// An embedding's rows are read, not multiplied: int8 would only lose bits.
constexpr DType embedding_dtype(DType weights) {
  return weights == DType::kI8 ? DType::kBF16 : weights;
}
// A tied embedding is read from the head's matrix, but for one that is quantised.
constexpr bool has_embedding(bool tied, DType weights) { return !tied || weights == DType::kI8; }

// Thread class: immutable once constructed.
class PackedModel {
 public:
  PackedModel(const ArchSpec& arch, const ModelWeights& weights, DType dtype,
              const dnnl::engine& engine, Team& team, const LoadProgress& progress);

  const std::vector<PackedLayer>& layers() const { return layers_; }
  const PackedMatrix& head() const { return head_; }
  const float* final_norm() const { return final_norm_; }
  uint64_t bytes() const;

  // Writes row `token` of the embedding to row `row` of out.
  void embed(int32_t token, const TiledRows& out, int64_t row) const;

  static uint64_t planned_bytes(const ArchSpec& arch, DType dtype);

 private:
  void copy_embedding(const WeightView& view, int64_t first);

  DType dtype_;
  int64_t hidden_;
  Buffer vectors_;
  Buffer embedding_;  // [vocabulary, hidden] in embedding_dtype(); empty: rows are read from head_
  const float* final_norm_ = nullptr;
  std::vector<PackedLayer> layers_;
  PackedMatrix head_;
};

}  // namespace diffulex::cpu
