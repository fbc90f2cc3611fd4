// The operations of the transformer body, as launches on the forward's stream.
#pragma once

#include "cuda/forward.h"

namespace diffulex::cuda {

class ForwardOps {
 public:
  explicit ForwardOps(Forward& forward) : f_(forward) {}

  void embed();
  void input_norm(int layer);
  void qkv(int layer);
  void rope_and_store(int layer);
  void attention(int layer);
  void attention_output(int layer);
  void mlp_norm(int layer);
  void gate_up(int layer);
  void down(int layer);
  void head_norm();

 private:
  const DeviceLayer& weights(int layer) const {
    return f_.model_.layers()[static_cast<size_t>(layer)];
  }
  NormArgs norm_args(const float* weight, const float* bias) const;
  void project(const DeviceMemory& x, const void* w, const DeviceMemory& y, int64_t n, int64_t k,
               bool into_residual);

  Forward& f_;
};

}  // namespace diffulex::cuda
