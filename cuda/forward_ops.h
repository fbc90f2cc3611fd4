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
  bool own() const { return f_.step_.shape.rows <= f_.own_rows_; }
  NormArgs norm_args(const float* weight, const float* bias) const;
  // y = x * transpose(w); w: [n, k]. into_residual: it is added to y, in f32.
  void project(const DeviceMemory& x, const void* w, const DeviceMemory& y, int64_t n, int64_t k,
               bool into_residual = false);
  // What the next norm adds to the residual, or adds it at once.
  void project_into_residual(const DeviceMemory& x, const void* w, int64_t k);
  // Parts of the own product of x and w.
  ProductParts project_parts(const DeviceMemory& x, const void* w, int64_t n, int64_t k);
  ProductArgs qkv_args(int layer) const;
  RopeArgs rope_args(int layer) const;
  CUtensorMap input_map(const DeviceMemory& x, int64_t k) const;

  Forward& f_;
  ProductParts pending_;  // added to the residual by the next norm
  bool rotated_ = false;  // the layer's QKV product is done together with its rotation
};

}  // namespace diffulex::cuda
