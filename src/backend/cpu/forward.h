// The operations of the transformer body on the CPU. Every member of the team runs the body with its own Forward; they share the
// step and meet at the barrier behind each operation.
#pragma once

#include <atomic>
#include <cstdint>
#include <span>

#include "backend/cpu/candidates.h"
#include "backend/cpu/matmul.h"
#include "backend/cpu/model.h"
#include "backend/cpu/team.h"
#include "backend/cpu/workspace.h"
#include "backend/plan.h"

namespace diffulex::cpu {

// What all members share in one step. Plain; written before the team starts.
struct Step {
  const ArchSpec& arch;
  const BackendConfig& config;
  const PackedModel& model;
  const Matmul& matmul;
  Workspace& work;
  Team& team;
  std::span<const RequestRow> requests;
  std::span<const int32_t> tokens;
  std::span<const int32_t> head_rows;
  std::span<std::atomic<int32_t>> claims;  // one counter per operation, zero at the start
  std::span<CandidateLists> candidates;    // [members], reset when a request needs them
  std::span<uint8_t> wide;                 // [head rows]: set where the candidates did not suffice
  std::atomic<bool> failed{false};         // oneDNN refused a product
};

class Forward {
 public:
  Forward(Step& step, int member) : s_(step), member_(member) {}

  // The operations of transformer_body.
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

  // Reduces all head rows to picks; needs head_norm before.
  void head();
  // All logits of one head row into [tiles * kTileIds]; every member calls it.
  void whole_row(int row, float* logits);

 private:
  int rows() const { return static_cast<int>(s_.tokens.size()); }
  void finish() {  // of an operation: barrier, next claim counter
    ++operation_;
    s_.team.barrier();
  }
  // Calls body(i) for every i in [0, count), each on one member, whoever is free.
  template <class Body>
  void share(int count, const Body& body) {
    std::atomic<int32_t>& next = s_.claims[operation_];
    for (int i = next.fetch_add(1, std::memory_order_relaxed); i < count; i = next.fetch_add(1, std::memory_order_relaxed)) body(i);
    finish();
  }
  // The same over rows, which are cheap: each member takes its share without asking.
  template <class Body>
  void share_rows(const Body& body) {
    const int members = s_.team.size(), count = rows();
    for (int r = count * member_ / members; r < count * (member_ + 1) / members; ++r) body(r);
    finish();
  }
  void project(const PackedMatrix& matrix, const void* in, int in_width, float* out, int out_stride, Write write,
               const float* bias);
  void norm_rows(const float* weight);
  void store_row(int layer, int row);
  void attend_item(int layer, int item);
  void reduce_head_tile(int first, int count, int tile);
  void choose(int row, int index_in_chunk);

  Step& s_;
  const int member_;
  size_t operation_ = 0;
};

// Operations of one step: the size of Step::claims.
size_t operation_count(const ArchSpec& arch, int head_rows);

}  // namespace diffulex::cpu
