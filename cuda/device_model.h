// A model's weights in device memory.
#pragma once

#include <vector>

#include "backend/backend.h"
#include "cuda/memory.h"

namespace diffulex::cuda {

struct DeviceLayer {
  const void* qkv = nullptr;      // [(heads + 2 kv_heads) * dim, hidden]
  const void* output = nullptr;   // [hidden, heads * dim]
  const void* gate_up = nullptr;  // [2 * mlp, hidden], gate first
  const void* down = nullptr;     // [hidden, mlp]
  const float* input_norm = nullptr;
  const float* post_norm = nullptr;
  const float* q_norm = nullptr;  // null: the model has none
  const float* k_norm = nullptr;
  const float* qkv_bias = nullptr;
  const float* output_bias = nullptr;
  const float* gate_up_bias = nullptr;  // [2 * mlp], gate first
  const float* down_bias = nullptr;
};

// Thread class: immutable once constructed. The device must be current for construction and
// destruction.
class DeviceModel {
 public:
  // Matrices become dtype, vectors f32. Copies overlap with the conversion of what came before.
  DeviceModel(const ArchSpec& arch, const ModelWeights& weights, DType dtype,
              const LoadProgress& progress);

  const std::vector<DeviceLayer>& layers() const { return layers_; }
  const void* embedding() const { return embedding_; }  // [vocabulary, hidden]
  const void* head() const { return head_; }            // [vocabulary, hidden]
  const float* final_norm() const { return final_norm_; }
  uint64_t bytes() const { return memory_.bytes(); }

  static uint64_t planned_bytes(const ArchSpec& arch, DType dtype);

 private:
  class Uploader;

  DeviceMemory memory_;  // all of it
  const void* embedding_ = nullptr;
  const void* head_ = nullptr;
  const float* final_norm_ = nullptr;
  std::vector<DeviceLayer> layers_;
};

}  // namespace diffulex::cuda
