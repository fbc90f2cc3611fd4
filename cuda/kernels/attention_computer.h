// A computing warpgroup: takes jobs from the ring. The scores of a tile and the values of the one
// before are multiplied together; the former become weights as soon as they are there.
#pragma once

#include "cuda/kernels/attention_ring.h"
#include "cuda/kernels/launch.h"
#include "cuda/kernels/wgmma_registers.h"

namespace diffulex::cuda {

template <class S, bool kCarry>
class AttentionComputer {
 public:
  // carry: of the block, for what jobs of several parts have summed.
  __device__ AttentionComputer(const AttentionArgs& args, const RingGrid& grid, Partial<S>* carry,
                               RingShared<S>& shared)
      : args_(args), grid_(grid), carry_(carry), shared_(shared), scale2_(args.scale * kLog2E) {}

  __device__ void run() {
    wait_for_kernel_before();
    RingTurn<S::kJobs> turn;
    for (int n = grid_.jobs(); n > 0; --n, turn.next()) {
      wait_barrier(shared_.job_full[turn.place], turn.parity);
      const RingJob& job = shared_.jobs[turn.place];
      if (warp_id() / 4 * 64 < job.count)
        work(job);
      else if (job.count > 0)
        pass(job);
      arrive(shared_.job_empty[turn.place]);
    }
  }

 private:
  // The job has no vectors for this warpgroup, but its tiles need everyone's leave to go.
  __device__ void pass(const RingJob& job) {
    bool first = true;
    for (int32_t at = first_tile<S>(job.item); at < job.item.end;
         at = tile_behind<S>(job.item, at)) {
      wait_full();
      if (first) arrive(shared_.queries_empty), first = false;
      release(tile_.place);
      tile_.next();
    }
  }

  __device__ void work(const RingJob& job) {
    reset(acc_);
    const ItemKeys keys = job.item;
    int32_t at = first_tile<S>(keys);
    const int32_t end = keys.end;
    bool carried = false;
    if (at < end) {
      wait_full();
      load_queries();
      while (at < end) {
        at = add_part(job, keys, at, kCarry ? min(end, (at / kPartKeys + 1) * kPartKeys) : end);
        add_lanes(acc_);
        if (!kCarry || at >= end) break;
        wait_full();
        if (carried) add_before(acc_, job.count, *carry_);
        store_partial(acc_, job.count, *carry_);
        reset(acc_);
        carried = true;
      }
      if (kCarry && carried) add_before(acc_, job.count, *carry_);
    }
    store_rows(job);
  }

  __device__ void wait_full() {
    wait_barrier(shared_.full[tile_.place], tile_.parity);
    share_with_products();
  }
  __device__ void release(int place) { arrive_as_warp(shared_.empty[place]); }

  __device__ void load_queries() {
    const int lane = lane_id();
    const uint32_t from =
        shared_address(shared_.queries + (tile_vector(0) + lane % 16) * S::kLine + lane / 16 * 8);
#pragma unroll
    for (int d = 0; d < S::kDim / 16; ++d)
      load_matrices(queries_[d], from + static_cast<uint32_t>(d) * 32);
    arrive(shared_.queries_empty);
  }

  // The tiles from `at` on that begin below `end`; returns the one behind them.
  __device__ int32_t add_part(const RingJob& job, const ItemKeys& keys, int32_t at, int32_t end) {
    float decay[1][2];
    start_scores();
    wait_products<0>();
    weigh(job, keys, at, decay);  // there are no sums yet that would fade
    pack();
    for (at = tile_behind<S>(keys, at); at < end; at = tile_behind<S>(keys, at)) {
      const int before = tile_.place;
      tile_.next();
      wait_full();
      start_scores();
      start_values(before);
      wait_products<1>();
      weigh(job, keys, at, decay);
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

  __device__ void weigh(const RingJob& job, const ItemKeys& keys, int32_t at,
                        float (&decay)[1][2]) {
    hold(scores_[0]);
    if (!keys.whole(at, S::kKeys)) mask_scores<S, 1>(job, at, scores_);
    soften<S, 1>(acc_, scale2_, scores_, decay);
  }

  // Steps of 16 dims of the keys, [64, dim] in columns of 64.
  __device__ void start_scores() {
    const MatrixPlace keys(shared_.keys[tile_.place]);
    hold(scores_[0]);
    begin_products();
    multiply_registers<false, false>(scores_[0], queries_[0], keys.behind(0));
#pragma unroll
    for (uint32_t d = 1; d < S::kDim / 16; ++d)
      multiply_registers<true, false>(scores_[0], queries_[d],
                                      keys.behind(d / 4 * S::kColumn + d % 4 * 32));
    commit_products();
  }

  // Steps of 16 keys of the values, [64, dim] in columns of 64.
  __device__ void start_values(int place) {
    const MatrixPlace values(shared_.values[place], S::kColumn);
    hold_values();
    begin_products();
#pragma unroll
    for (uint32_t k = 0; k < S::kKeys / 16; ++k)
      multiply_registers<true, true>(acc_.out[0], weights_[k], values.behind(k * 16 * 128));
    commit_products();
  }

  __device__ void hold_values() {
    hold(weights_);
    hold(acc_.out[0]);
  }

  __device__ void pack() {
#pragma unroll
    for (int k = 0; k < S::kKeys / 16; ++k) pack_weights(scores_[0], k, weights_[k]);
  }

  // Every lane has two columns of each eight. Of a pair of eights, even lanes get four columns of
  // the first and odd ones four of the second, so that four lanes write 32 bytes in a row.
  __device__ void store_rows(const RingJob& job) const {
    const bool odd = lane_id() % 2 != 0;
    const int column = (odd ? 8 : 0) + lane_id() % 4 / 2 * 4;
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int v = tile_vector(0) + lane_id() / 4 + h * 8, own = job.begin + v;
      const float inverse = inverse_of(acc_.sum[0][h]);
      uint16_t* const to =
          static_cast<uint16_t*>(args_.out) + column +
          (v < job.count ? vector_element(args_, job.view, own, grid_.group.quotient(own)) : 0);
#pragma unroll
      for (int i = 0; i < S::kDim / 8; i += 2) {
        const float(&a)[4] = acc_.out[0][i], (&b)[4] = acc_.out[0][i + 1];
        const uint32_t first = pack_bf16(a[2 * h] * inverse, a[2 * h + 1] * inverse);
        const uint32_t second = pack_bf16(b[2 * h] * inverse, b[2 * h + 1] * inverse);
        const uint32_t other = __shfl_xor_sync(~0u, odd ? first : second, 1);
        if (v < job.count && i * 8 + column < args_.kv.dim)
          *reinterpret_cast<uint2*>(to + i * 8) = odd ? uint2{other, second} : uint2{first, other};
      }
    }
  }

  const AttentionArgs& args_;
  const RingGrid& grid_;
  Partial<S>* const carry_;
  RingShared<S>& shared_;
  const float scale2_;
  RingTurn<S::kStages> tile_;  // whose scores were begun last
  Accumulators<S> acc_;
  float scores_[1][S::kKeys / 8][4];
  uint32_t weights_[S::kKeys / 16][4];
  uint32_t queries_[S::kDim / 16][4];
};

}  // namespace diffulex::cuda
