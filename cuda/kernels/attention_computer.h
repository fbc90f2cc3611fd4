// A computing warpgroup: takes jobs from the ring. The scores of a tile are multiplied while the
// values of the tile before are, and become weights meanwhile.
#pragma once

#include "cuda/kernels/attention_ring.h"
#include "cuda/kernels/launch.h"
#include "cuda/kernels/wgmma_registers.h"

namespace diffulex::cuda {

template <class S, bool kCarry>
class AttentionComputer {
 public:
  // carry: of the block, for what jobs of several parts have summed.
  __device__ AttentionComputer(const AttentionArgs& args, Partial<S>* carry, RingShared<S>& shared)
      : args_(args), carry_(carry), shared_(shared), scale2_(args.scale * kLog2E) {}

  __device__ void run() {
    wait_for_kernel_before();
    for (RingTurn<S::kJobs> turn;; turn.next()) {
      wait_barrier(shared_.job_full[turn.place], turn.parity);
      const RingJob& job = shared_.jobs[turn.place];
      if (job.count == 0) return;
      if (warp_id() / 4 * 64 < job.count)
        work(job);
      else
        pass(job);
      arrive_as_warp(shared_.job_empty[turn.place]);
    }
  }

 private:
  __device__ static int32_t next_tile(const RingJob& job, int32_t at) {
    return job.item.next_tile(at, S::kKeys);
  }
  __device__ static int32_t first_tile(const RingJob& job) {
    return next_tile(job, job.item.begin / S::kKeys * S::kKeys);
  }

  // The job has no vectors for this warpgroup, but its tiles need everyone's leave to go.
  __device__ void pass(const RingJob& job) {
    bool first = true;
    for (int32_t at = first_tile(job); at < job.item.end; at = next_tile(job, at + S::kKeys)) {
      wait_full();
      if (first) arrive_as_warp(shared_.queries_empty), first = false;
      release(tile_.place);
      tile_.next();
    }
  }

  __device__ void work(const RingJob& job) {
    reset(acc_);
    int32_t at = first_tile(job);
    const int32_t end = job.item.end;
    bool carried = false;
    if (at < end) {
      wait_full();
      load_queries();
      while (at < end) {
        at = add_part(job, at, kCarry ? min(end, (at / kPartKeys + 1) * kPartKeys) : end);
        add_lanes(acc_);
        if (!kCarry || at >= end) break;
        if (carried) add_before(acc_, job.count, *carry_);
        store_partial(acc_, job.count, *carry_);
        reset(acc_);
        carried = true;
      }
      if (kCarry && carried) add_before(acc_, job.count, *carry_);
    }
    store_rows(job);
  }

  __device__ void wait_full() { wait_barrier(shared_.full[tile_.place], tile_.parity); }
  __device__ void release(int place) { arrive_as_warp(shared_.empty[place]); }

  __device__ void load_queries() {
    const int lane = lane_id();
    const uint32_t from =
        shared_address(shared_.queries + (tile_vector(0) + lane % 16) * S::kLine + lane / 16 * 8);
#pragma unroll
    for (int d = 0; d < S::kDim / 16; ++d)
      load_matrices(queries_[d], from + static_cast<uint32_t>(d) * 32);
    arrive_as_warp(shared_.queries_empty);
  }

  // The tiles from `at` on that begin below `end`; returns the one behind them.
  __device__ int32_t add_part(const RingJob& job, int32_t at, int32_t end) {
    float decay[1][2];
    wait_full();
    start_scores();
    wait_products<0>();
    weigh(job, at, decay);
    fade<S, 1>(acc_, decay);
    pack();
    for (at = next_tile(job, at + S::kKeys); at < end; at = next_tile(job, at + S::kKeys)) {
      const int before = tile_.place;
      tile_.next();
      wait_full();
      start_scores();
      start_values(before);
      wait_products<1>();
      weigh(job, at, decay);
      wait_products<0>();
      hold_values();
      release(before);
      fade<S, 1>(acc_, decay);
      pack();
    }
    start_values(tile_.place);
    wait_products<0>();
    hold_values();
    release(tile_.place);
    tile_.next();
    return at;
  }

  // Steps of 16 dims of the keys, [64, dim] in columns of 64.
  __device__ void start_scores() {
    const uint64_t keys = matrix_descriptor(shared_.keys[tile_.place]);
    hold(scores_[0]);
    begin_products();
#pragma unroll
    for (int d = 0; d < S::kDim / 16; ++d) {
      const uint64_t at = keys + static_cast<uint64_t>(d / 4 * S::kColumn + d % 4 * 32) / 16;
      if (d == 0)
        multiply_registers<false, false>(scores_[0], queries_[d], at);
      else
        multiply_registers<true, false>(scores_[0], queries_[d], at);
    }
    commit_products();
  }

  // Steps of 16 keys of the values, [64, dim] in columns of 64.
  __device__ void start_values(int place) {
    const uint64_t values = transposed_descriptor(shared_.values[place], S::kColumn);
    hold_values();
    begin_products();
#pragma unroll
    for (int k = 0; k < S::kKeys / 16; ++k)
      multiply_registers<true, true>(acc_.out[0], weights_[k],
                                     values + static_cast<uint64_t>(k * 16 * 128) / 16);
    commit_products();
  }

  __device__ void hold_values() {
    hold(weights_);
    hold(acc_.out[0]);
  }

  __device__ void weigh(const RingJob& job, int32_t at, float (&decay)[1][2]) {
    hold(scores_[0]);
    if (!job.item.whole(at, S::kKeys)) mask_scores<S, 1>(job, at, scores_);
    soften<S, 1>(acc_, scale2_, scores_, decay);
  }

  __device__ void pack() {
#pragma unroll
    for (int k = 0; k < S::kKeys / 16; ++k) pack_weights(scores_[0], k, weights_[k]);
  }

  // Of 4 x 8 columns, lane l has columns l % 4 * 2 + {0, 1} of each eight, and gets the eight
  // number l % 4.
  __device__ static uint4 gather_eight(const uint32_t (&x)[4]) {
    const bool odd = lane_id() % 2 != 0, high = lane_id() % 4 >= 2;
    uint32_t y[4];
#pragma unroll
    for (int i = 0; i < 4; i += 2) {
      const uint32_t other = __shfl_xor_sync(~0u, odd ? x[i] : x[i + 1], 1);
      y[i] = odd ? other : x[i];
      y[i + 1] = odd ? x[i + 1] : other;
    }
    const uint32_t a = __shfl_xor_sync(~0u, high ? y[0] : y[2], 2);
    const uint32_t b = __shfl_xor_sync(~0u, high ? y[1] : y[3], 2);
    return high ? uint4{a, b, y[2], y[3]} : uint4{y[0], y[1], a, b};
  }

  __device__ void store_rows(const RingJob& job) const {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int v = tile_vector(0) + lane_id() / 4 + h * 8;
      const float inverse = inverse_of(acc_.sum[0][h]);
      uint16_t* const to = static_cast<uint16_t*>(args_.out) +
                           (v < job.count ? vector_element(args_, job.view, job.begin + v) : 0);
#pragma unroll
      for (int i = 0; i < S::kDim / 8; i += 4) {
        uint32_t x[4];
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          const float(&out)[4] = acc_.out[0][i + e];
          x[e] = pack_bf16(out[2 * h] * inverse, out[2 * h + 1] * inverse);
        }
        const uint4 eight = gather_eight(x);
        const int column = (i + lane_id() % 4) * 8;
        if (v < job.count && column < args_.kv.dim) *reinterpret_cast<uint4*>(to + column) = eight;
      }
    }
  }

  const AttentionArgs& args_;
  Partial<S>* const carry_;
  RingShared<S>& shared_;
  const float scale2_;
  RingTurn<S::kStages> tile_;
  Accumulators<S> acc_;
  float scores_[1][S::kKeys / 8][4];
  uint32_t weights_[S::kKeys / 16][4];
  uint32_t queries_[S::kDim / 16][4];
};

}  // namespace diffulex::cuda
