// The transformer body on a device.
#pragma once

#include <cuda_runtime_api.h>

#include <span>
#include <vector>

#include "backend/step.h"
#include "cuda/blas.h"
#include "cuda/device_model.h"
#include "cuda/kernels/body.h"
#include "cuda/kernels/head.h"
#include "cuda/memory.h"

namespace diffulex::cuda {

// Owns the KV pages, the resident page tables and every buffer of a step, sized once. Thread class:
// the backend's owner thread; the device is current.
class Forward {
 public:
  // Rows of a library's product in batch-invariant mode: always as many, so that its kernel is
  // always the same. Buffers hold a multiple.
  static constexpr int64_t kInvariantRows = 128;

  Forward(const ArchSpec& arch, const BackendConfig& config, const DeviceModel& model, Blas& blas,
          cudaStream_t stream);

  // Makes a cache of so many pages, all zeros, in place of the one before. Its address is another.
  void place_cache(int64_t pages);

  // Puts the whole step on the stream: body, head, picks. samplers: of the head rows, for the
  // host's choice of the way to pick. picks: [heads], of the device.
  void run(const StepView& step, std::span<const HeadRow> heads, decide::Pick* picks);

  // Whether head rows that a step has room for and not in it cost nothing.
  bool skips_missing_heads() const { return own_rows_ > 0 && step_.shape.greedy; }
  uint64_t kv_bytes() const { return kv_.bytes(); }
  uint64_t workspace_bytes() const;

  static MemoryPlan plan(const ArchSpec& arch, const BackendConfig& config);
  static int item_rows(const ArchSpec& arch);
  // Parts of k of an own product of the matrix [n, k].
  static int splits(int64_t n, int64_t k, bool invariant, int multiprocessors);
  // Attention items of a step at most.
  static int32_t max_items(const ArchSpec& arch, const BackendConfig& config);
  int32_t max_items() const { return max_items(arch_, config_); }

 private:
  friend class ForwardOps;
  void make_angles();
  void select(std::span<const HeadRow> heads, decide::Pick* picks);
  void select_greedy(decide::Pick* picks);
  int32_t token_count() const;  // ids that may be chosen

  const ArchSpec arch_;
  const BackendConfig config_;
  const DType dtype_;
  const DeviceModel& model_;
  Blas& blas_;
  const cudaStream_t stream_;
  const int multiprocessors_;
  const bool warpgroups_;  // the device multiplies by warpgroups
  const int own_rows_;     // steps of up to so many rows use the products of kernels/product.h

  struct Angles {
    float theta;
    int dim;
    DeviceMemory table;  // [positions, dim]
  };
  std::vector<Angles> angles_;
  std::vector<int> layer_angles_;  // index into angles_
  std::vector<KeyValues> layers_;
  DeviceMemory kv_;                           // pages of all layers
  DeviceMemory tables_;                       // [max_requests, max_pages_per_request]
  DeviceMemory flight_keys_, flight_values_;  // of one layer
  DeviceMemory residual_;                     // [rows, hidden] f32
  DeviceMemory normed_;                       // [rows, hidden]
  DeviceMemory qkv_;                          // [rows, (heads + 2 kv_heads) * dim]
  DeviceMemory queries_;                      // [rows, heads * dim]
  DeviceMemory partials_;                     // of attention over long contexts
  DeviceMemory parts_;                        // of own products, f32
  DeviceMemory attended_;                     // [rows, heads * dim]
  DeviceMemory gate_up_;                      // [rows, 2 * mlp]
  DeviceMemory activated_;                    // [rows, mlp]
  DeviceMemory carried_;                      // [max_requests, hidden]
  DeviceMemory logits_;                       // [chunk, vocabulary] f32
  DeviceMemory tiles_;                        // [chunk, tiles], of either way
  DeviceMemory sorting_;                      // of candidates, one row at a time
  StepView step_;                             // that runs
};

}  // namespace diffulex::cuda
