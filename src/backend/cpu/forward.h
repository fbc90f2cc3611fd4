// The transformer body on the CPU.
#pragma once

#include <cstdint>
#include <vector>

#include "backend/cpu/attention.h"
#include "backend/cpu/head.h"
#include "backend/cpu/packed_model.h"
#include "backend/cpu/step.h"

namespace diffulex::cpu {

// What activations are kept in between products.
constexpr DType activation_dtype(DType weights) {
  return weights == DType::kI8 ? DType::kBF16 : weights;
}

// Owns the KV pages and every buffer of a step, sized once. Thread class: one owner; run() uses the
// whole team.
class Forward {
 public:
  Forward(const ArchSpec& arch, const BackendConfig& config, const PackedModel& model,
          Matmul& matmul, Team& team);

  // Runs the step. picks: [head rows]. logits: null or [head rows, vocabulary], the raw logits.
  // Throws Error(DIFFULEX_E_INTERNAL) when a product failed.
  void run(const Step& step, decide::Pick* picks, float* logits);

  uint64_t kv_bytes() const { return kv_.bytes(); }
  uint64_t workspace_bytes() const;
  const Buffer& kv() const { return kv_; }  // for tests
  const char* attention_name() const { return attention_.name; }

 private:
  friend class ForwardOps;

  // cos and sin of all positions for one kind of head.
  struct Angles {
    float theta;
    int dim;
    Buffer table;  // [positions, 2, dim / 2] f32
  };
  void make_angles();
  void make_layers();
  RowOut row_out(const Buffer& buffer, int64_t element) const;  // in activation_dtype()
  size_t input_bytes(int64_t cols) const { return input_row_bytes(config_.weight_dtype, cols); }

  const ArchSpec arch_;
  const BackendConfig config_;
  const PackedModel& model_;
  Matmul& matmul_;
  Team& team_;
  const AttentionKernels& attention_;
  const int64_t capacity_;  // rows, a multiple of kRowBucket

  std::vector<Angles> angles_;
  std::vector<int> layer_angles_;  // index into angles_
  std::vector<AttentionLayer> layers_;
  Buffer kv_;                           // pages of all layers
  Buffer flight_keys_, flight_values_;  // of one layer
  Buffer workspace_;                    // what the following are parts of, up to products_
  Buffer residual_;                     // f32, tiled
  Buffer normed_;                       // [capacity, hidden], rows of input_row_bytes()
  Buffer queries_;                      // [capacity, heads * dim] in AttentionKernels::query_dtype
  Buffer attended_;                     // [capacity, heads * dim] in activation_dtype()
  Buffer activated_;                    // [capacity, mlp] likewise
  Buffer quantised_;  // [capacity, the wider of both], rows of input_row_bytes(); int8 only
  Buffer carried_;    // [max_requests, hidden] as normed_, see RequestRow::carry_row
  std::vector<Buffer> products_;  // per member: [kRowChunk, widest tile] f32, a row's norm at least
  std::vector<AttentionScratch> scratch_;  // one per member
  Head head_;

  // Of the step that runs.
  const Step* step_ = nullptr;
  decide::Pick* picks_ = nullptr;
  float* logits_ = nullptr;
};

// Bytes that a Forward of this configuration would take.
MemoryPlan plan_forward(const ArchSpec& arch, const BackendConfig& config);

}  // namespace diffulex::cpu
