// The loading warpgroup: finds what rows see and brings it, queries included, to shared memory. Its
// warps know of each other only through the barriers of the rings.
#pragma once

#include "cuda/kernels/attention_ring.h"
#include "cuda/kernels/launch.h"

namespace diffulex::cuda {

template <class S>
class AttentionLoader {
 public:
  __device__ AttentionLoader(const AttentionArgs& args, const RingGrid& grid, RingShared<S>& shared)
      : args_(args), grid_(grid), shared_(shared), warp_(warp_id() - kComputingWarps) {}

  __device__ void run() {
    bool waited = false;
    for (int block = static_cast<int>(blockIdx.x); block < grid_.blocks;
         block += static_cast<int>(gridDim.x)) {
      const BlockIndex index = block_index(args_, grid_.chunks, block);
      const ItemView view = view_item(args_, index.item, index.head);
      const int begin = index.chunk * S::kVectors, count = min(view.vectors - begin, S::kVectors);
      if (count <= 0) continue;
      const ItemKeys keys = keys_of(view);
      post(view, keys, begin, count);
      if (!waited) wait_for_kernel_before(), waited = true;
      load(view, keys, begin, count);
    }
    if (!waited) wait_for_kernel_before();
    RingJob& last = take_job();
    if (warp_ == 0 && lane_id() == 0) last.count = 0;
    arrive_as_warp(shared_.job_full[job_.place]);
  }

 private:
  // item_keys() by one warp.
  __device__ ItemKeys keys_of(const ItemView& view) const {
    const int rows = view.vectors / view.group;
    int32_t begin = INT32_MAX, end = 0, all_begin = 0, all_end = INT32_MAX;
    for (int r = lane_id(); r < rows; r += 32) {
      const decide::KeyRange range = row_range(args_, view, r);
      all_begin = max(all_begin, range.begin), all_end = min(all_end, range.end);
      if (range.begin < range.end) begin = min(begin, range.begin), end = max(end, range.end);
    }
    begin = __reduce_min_sync(~0u, begin), end = __reduce_max_sync(~0u, end);
    all_begin = __reduce_max_sync(~0u, all_begin), all_end = __reduce_min_sync(~0u, all_end);
    const decide::KeyRange first = row_range(args_, view, 0);
    const bool none = begin >= end;
    return {none ? 0 : begin, none ? 0 : end, all_begin, all_end, first.hole_begin, first.hole_end};
  }

  __device__ RingJob& take_job() {
    wait_barrier(shared_.job_empty[job_.place], job_.parity ^ 1);
    return shared_.jobs[job_.place];
  }

  __device__ void post(const ItemView& view, const ItemKeys& keys, int begin, int count) {
    RingJob& job = take_job();
    if (warp_ == 0 && lane_id() == 0)
      job.view = view, job.item = keys, job.begin = begin, job.count = count;
    for (int v = warp_ * 32 + lane_id(); v < S::kVectors; v += kLoadingWarps * 32) {
      int2 range{0, 0};
      if (v < count) {
        const decide::KeyRange seen = row_range(args_, view, (begin + v) / view.group);
        range = {seen.begin, seen.end};
      }
      job.ranges[v] = range;
    }
    arrive_as_warp(shared_.job_full[job_.place]);
    job_.next();
  }

  __device__ void load(const ItemView& view, const ItemKeys& keys, int begin, int count) {
    int32_t at = keys.next_tile(keys.begin / S::kKeys * S::kKeys, S::kKeys);
    if (at >= keys.end) return;
    wait_barrier(shared_.queries_empty, queries_parity_ ^ 1);
    queries_parity_ ^= 1;
    load_queries(view, begin, count);
    int32_t page = page_of(view, keys, at);
    while (at < keys.end) {
      const int32_t next = keys.next_tile(at + S::kKeys, S::kKeys);
      const int32_t next_page = next < keys.end ? page_of(view, keys, next) : 0;
      load_tile(place_of(view, keys, at, page));
      at = next, page = next_page;
    }
    // The next job may have to wait for the end of this one, so nothing of it is held back.
    wait_copies<0>();
    while (unpublished_ > 0) publish();
  }

  __device__ void load_queries(const ItemView& view, int begin, int count) const {
    constexpr int kChunks = S::kDim / 8, kAtOnce = 32 / kChunks;
    const int chunk = lane_id() % kChunks, line = lane_id() / kChunks;
    const bool column = chunk < args_.kv.dim / 8;
#pragma unroll 4
    for (int v = warp_ * kAtOnce + line; v < S::kVectors; v += kLoadingWarps * kAtOnce) {
      const bool valid = v < count && column;
      const uint16_t* const from = static_cast<const uint16_t*>(args_.queries) +
                                   (valid ? vector_element(args_, view, begin + v) : 0);
      copy_async(shared_address(shared_.queries + v * S::kLine + chunk * 8),
                 valid ? from + chunk * 8 : from, valid ? 16 : 0);
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

  // Copies are kBehind tiles ahead of their publication.
  static constexpr int kBehind = 2;
  static_assert(S::kStages - kBehind >= 2);  // the computing ones hold a tile and wait for the next
  __device__ void load_tile(uint64_t place) {
    wait_barrier(shared_.empty[tile_.place], tile_.parity ^ 1);
    copy_lines(place, shared_address(shared_.keys[tile_.place]),
               shared_address(shared_.values[tile_.place]));
    commit_copies();
    tile_.next();
    if (++unpublished_ > kBehind) {
      wait_copies<kBehind>();
      publish();
    }
  }

  // place: of the lane's key. Columns behind the head's dims become zeros: they are multiplied all
  // the same.
  __device__ void copy_lines(uint64_t place, uint32_t keys, uint32_t values) const {
    constexpr int kChunks = S::kDim / 8, kAtOnce = 32 / kChunks;
    const int chunk = lane_id() % kChunks, line = lane_id() / kChunks;
    const bool column = chunk < args_.kv.dim / 8;
    const KeyValues& kv = args_.kv;
    const auto distance = [](const void* from, const void* to) {
      return reinterpret_cast<uint64_t>(to) - reinterpret_cast<uint64_t>(from);
    };
    const uint64_t cached = distance(kv.page_keys, kv.page_values);
    const uint64_t flight = distance(kv.flight_keys, kv.flight_values);
#pragma unroll
    for (int i = 0; i < kWarpKeys; i += kAtOnce) {
      const uint64_t key = __shfl_sync(~0u, place, i + line);
      const uint64_t from =
          (key & ~uint64_t{15}) + (column ? static_cast<uint64_t>(chunk) * 16 : 0);
      const int bytes = (key & kSeen) != 0 && column ? 16 : 0;
      const int row = warp_ * kWarpKeys + i + line;
      const auto to =
          static_cast<uint32_t>(chunk / 8 * S::kColumn + row * 128 + (chunk % 8 ^ row % 8) * 16);
      copy_async(keys + to, reinterpret_cast<const void*>(from), bytes);
      copy_async(values + to,
                 reinterpret_cast<const void*>(from + ((key & kCached) != 0 ? cached : flight)),
                 bytes);
    }
  }

  // The oldest tile whose copies have arrived.
  __device__ void publish() {
    publish_writes();
    arrive_as_warp(shared_.full[published_.place]);
    published_.next();
    --unpublished_;
  }

  const AttentionArgs& args_;
  const RingGrid& grid_;
  RingShared<S>& shared_;
  const int warp_;
  RingTurn<S::kStages> tile_, published_;
  RingTurn<S::kJobs> job_;
  uint32_t queries_parity_ = 0;
  int unpublished_ = 0;
};

}  // namespace diffulex::cuda
