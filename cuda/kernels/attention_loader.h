// The loading warpgroup: finds what rows see and brings it, queries included, to shared memory.
// Each of its warps finds every fourth job, ahead of time; all load a part of every tile.
#pragma once

#include "cuda/kernels/attention_ring.h"
#include "cuda/kernels/launch.h"

namespace diffulex::cuda {

template <class S>
class AttentionLoader {
 public:
  __device__ AttentionLoader(const AttentionArgs& args, const RingGrid& grid, RingShared<S>& shared)
      : args_(args),
        grid_(grid),
        shared_(shared),
        warp_(warp_id() - kComputingWarps),
        row_(lane_id() / 8),
        chunk_(lane_id() % 8) {}

  __device__ void run() {
    const int jobs = grid_.jobs();
    if (warp_ < jobs) find(warp_);
    wait_for_kernel_before();
    RingTurn<S::kJobs> turn;
    for (int n = 0; n < jobs; ++n, turn.next()) {
      wait_barrier(shared_.job_full[turn.place], turn.parity);
      load(shared_.jobs[turn.place]);
      if (n % kLoadingWarps == warp_ && n + kLoadingWarps < jobs) find(n + kLoadingWarps);
    }
  }

 private:
  // Writes the block's job number n.
  __device__ void find(int n) const {
    const int block = static_cast<int>(blockIdx.x) + n * static_cast<int>(gridDim.x);
    const BlockIndex index = block_index(args_, grid_.chunks, block);
    const ItemView view = view_item(args_, index.item, index.head);
    const int begin = index.chunk * S::kVectors;
    const int count = max(0, min(view.vectors - begin, S::kVectors));
    const int place = n % S::kJobs;
    wait_barrier(shared_.job_empty[place], static_cast<uint32_t>(n / S::kJobs + 1) % 2);
    RingJob& job = shared_.jobs[place];
    const ItemKeys keys = find_ranges(view, begin, count, job);
    if (lane_id() == 0) job.view = view, job.item = keys, job.begin = begin, job.count = count;
    arrive(shared_.job_full[place]);
  }

  // What item_keys() finds for a whole item.
  __device__ ItemKeys find_ranges(const ItemView& view, int begin, int count, RingJob& job) const {
    ItemKeys keys = ItemKeys::of_no_rows();
#pragma unroll 2
    for (int v = lane_id(); v < S::kVectors; v += 32) {
      if (v >= count) continue;
      const decide::KeyRange range = row_range(args_, view, grid_.group.quotient(begin + v));
      job.ranges[v] = {range.begin, range.end};
      keys.include(range);
      keys.hole_begin = range.hole_begin, keys.hole_end = range.hole_end;
    }
    keys.join_lanes();
    if (keys.begin >= keys.end) keys.begin = 0, keys.end = 0;
    return keys;  // lane 0 has the hole, if any lane has
  }

  // The queries and all tiles of a job.
  __device__ void load(const RingJob& job) {
    const ItemKeys keys = job.item;
    int32_t at = first_tile<S>(keys);
    if (job.count == 0 || at >= keys.end) return;
    const ItemView view = job.view;
    int32_t page = page_of(view, keys, at);
    wait_barrier(shared_.queries_empty, queries_parity_ ^ 1);
    queries_parity_ ^= 1;
    load_queries(view, job.begin, job.count);
    while (at < keys.end) {
      const int32_t next = tile_behind<S>(keys, at);
      const int32_t next_page = next < keys.end ? page_of(view, keys, next) : 0;
      load_tile(place_of(view, keys, at, page));
      at = next, page = next_page;
    }
  }

  // A warp copies four lines at a time, 128 bytes of each; a lane 16 bytes of line row_, whose
  // chunks are chunk_, chunk_ + 8 and so on.
  static constexpr int kAtOnce = 4, kPasses = S::kDim / 64;
  __device__ bool has_column(int pass) const { return chunk_ + 8 * pass < args_.kv.dim / 8; }

  __device__ void load_queries(const ItemView& view, int begin, int count) const {
    constexpr int kWarpVectors = S::kVectors / kLoadingWarps;
    static_assert(kWarpVectors == 32);
    const int first = warp_ * kWarpVectors, own = begin + first + lane_id();
    const int64_t element =
        first + lane_id() < count ? vector_element(args_, view, own, grid_.group.quotient(own)) : 0;
#pragma unroll 2
    for (int v = 0; v < kWarpVectors; v += kAtOnce) {
      const uint16_t* const from = static_cast<const uint16_t*>(args_.queries) +
                                   __shfl_sync(~0u, element, v + row_) + chunk_ * 8;
      const uint32_t to =
          shared_address(shared_.queries + (first + v + row_) * S::kLine + chunk_ * 8);
#pragma unroll
      for (int pass = 0; pass < kPasses; ++pass)
        copy_async(to + static_cast<uint32_t>(pass) * 128, from + pass * 64,
                   first + v + row_ < count && has_column(pass) ? 16 : 0);
    }
  }

  // Lane l knows the key warp * 16 + l % 16 of a tile.
  static constexpr int kWarpKeys = S::kKeys / kLoadingWarps;
  __device__ int32_t position_of(int32_t at) const {
    return at + warp_ * kWarpKeys + lane_id() % kWarpKeys;
  }
  __device__ int32_t page_of(const ItemView& view, const ItemKeys& keys, int32_t at) const {
    const int32_t position = position_of(at);
    return keys.visible(position) ? find_page(view, grid_.page_size, position) : 0;
  }

  // The address of a key, with what is known about it in the bits that are free.
  static constexpr uint64_t kSeen = 1, kCached = 2;
  __device__ uint64_t place_of(const ItemView& view, const ItemKeys& keys, int32_t at,
                               int32_t page) const {
    const int32_t position = position_of(at);
    if (!keys.visible(position)) return reinterpret_cast<uint64_t>(args_.kv.flight_keys);
    const KeyPlace found = place_key(args_.kv, view, grid_.page_size, position, page);
    const auto base =
        reinterpret_cast<uint64_t>(found.cached ? args_.kv.page_keys : args_.kv.flight_keys);
    return (base + static_cast<uint64_t>(found.element) * 2) | kSeen | (found.cached ? kCached : 0);
  }

  __device__ void load_tile(uint64_t place) {
    wait_barrier(shared_.empty[tile_.place], tile_.parity ^ 1);
    copy_lines(place, shared_address(shared_.keys[tile_.place]),
               shared_address(shared_.values[tile_.place]));
    arrive_behind_copies(shared_.full[tile_.place]);
    tile_.next();
  }

  // place: of the lane's key. Columns behind the head's dims become zeros: they are multiplied all
  // the same.
  __device__ void copy_lines(uint64_t place, uint32_t keys, uint32_t values) const {
    const KeyValues& kv = args_.kv;
    const auto distance = [](const void* from, const void* to) {
      return reinterpret_cast<uint64_t>(to) - reinterpret_cast<uint64_t>(from);
    };
    const uint64_t cached = distance(kv.page_keys, kv.page_values);
    const uint64_t flight = distance(kv.flight_keys, kv.flight_values);
    // Chunks are swizzled within a line by its number among eight, which is row_ or row_ + 4.
    const auto even =
        static_cast<uint32_t>((warp_ * kWarpKeys + row_) * 128 + (chunk_ ^ row_) * 16);
#pragma unroll
    for (int k = 0; k < kWarpKeys; k += kAtOnce) {
      const uint64_t known = __shfl_sync(~0u, place, k + row_);
      const uint64_t key = (known & ~uint64_t{15}) + static_cast<uint64_t>(chunk_) * 16;
      const uint64_t value = key + ((known & kCached) != 0 ? cached : flight);
      const bool seen = (known & kSeen) != 0;
#pragma unroll
      for (int pass = 0; pass < kPasses; ++pass) {
        const uint32_t to = (k / kAtOnce % 2 == 0 ? even : even ^ 64) +
                            static_cast<uint32_t>(k * 128 + pass * S::kColumn);
        const int bytes = seen && has_column(pass) ? 16 : 0;
        const auto column = static_cast<uint64_t>(pass) * 128;
        copy_async(keys + to, reinterpret_cast<const void*>(key + column), bytes);
        copy_async(values + to, reinterpret_cast<const void*>(value + column), bytes);
      }
    }
  }

  const AttentionArgs& args_;
  const RingGrid& grid_;
  RingShared<S>& shared_;
  const int warp_;
  const int row_, chunk_;
  RingTurn<S::kStages> tile_;
  uint32_t queries_parity_ = 0;
};

}  // namespace diffulex::cuda
