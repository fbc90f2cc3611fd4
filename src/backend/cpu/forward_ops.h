// One team member's view of a Forward: the operations that transformer_body() asks for.
#pragma once

#include <cstdint>

#include "backend/cpu/forward.h"

namespace diffulex::cpu {

// Every operation is called by all members together; the rows, tiles or heads of it are shared out
// among them, and it ends in a barrier.
class ForwardOps {
 public:
  ForwardOps(Forward& forward, int member) : f_(forward), step_(*forward.step_), member_(member) {}

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
  void select();

 private:
  int64_t rows() const { return static_cast<int64_t>(step_.tokens.size()); }
  TiledRows tiled(const Buffer& buffer, const PackedMatrix& w) const;
  TiledRows residual() const;
  void norm(const float* bias, const float* weight);
  void norm_row_to(const TiledRows& h, int64_t row, const float* bias, const float* weight,
                   const Buffer& out, int64_t index);
  const Buffer& input(const Buffer& activations, int64_t cols);
  // bias: added too, or null.
  void project(const PackedMatrix& w, const Buffer& x, const Buffer& y, bool accumulate,
               const float* bias = nullptr);
  template <class Fn>
  void for_rows(int64_t count, Fn&& fn);
  template <class Use>
  void for_tiles(const PackedMatrix& w, const Buffer& x, Use&& use);
  void rotate(int layer, int64_t row, int head, const float* x);

  Forward& f_;
  const Step& step_;
  const int member_;
};

}  // namespace diffulex::cpu
