// The exact pick among truncated candidates: one row sorted as a whole.
#include <cub/device/device_radix_sort.cuh>

#include "cuda/kernels/head.h"

namespace diffulex::cuda {
namespace {

constexpr int kThreads = 256;

// A row's place in the memory for sorting.
struct Layout {
  float *keys, *sorted_keys;
  int32_t *ids, *sorted_ids;
  decide::Candidate* candidates;
  void* scratch;
  size_t scratch_bytes;

  Layout(void* memory, int32_t n) {
    const size_t words = (static_cast<size_t>(n) + 63) / 64 * 64;
    keys = static_cast<float*>(memory);
    sorted_keys = keys + words;
    ids = reinterpret_cast<int32_t*>(sorted_keys + words);
    sorted_ids = ids + words;
    candidates = reinterpret_cast<decide::Candidate*>(sorted_ids + words);
    scratch = candidates + words;
    scratch_bytes = cub_bytes(n);
  }
  static size_t cub_bytes(int32_t n) {
    size_t bytes = 0;
    (void)cub::DeviceRadixSort::SortPairsDescending(
        nullptr, bytes, static_cast<float*>(nullptr), static_cast<float*>(nullptr),
        static_cast<int32_t*>(nullptr), static_cast<int32_t*>(nullptr), n);
    return bytes;
  }
};

// From the highest id down: the sort is stable, so equal logits keep that order.
__global__ void reverse_kernel(const float* logits, int n, float* keys, int32_t* ids) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i >= n) return;
  keys[i] = logits[n - 1 - i];
  ids[i] = n - 1 - i;
}

__global__ void join_kernel(const float* keys, const int32_t* ids, int n,
                            decide::Candidate* candidates) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i < n) candidates[i] = {keys[i], ids[i]};
}

__global__ void choose_kernel(HeadChunk chunk, StepView step, int32_t row,
                              const decide::Candidate* sorted) {
  const HeadInfo head = step.heads[chunk.first + row];
  const RequestRow& request = step.requests[head.request];
  decide::Pick& pick = chunk.picks[chunk.first + row];
  const decide::RowSums sums = decide::sum_tiles(
      chunk.tiles + static_cast<int64_t>(row) * chunk.tile_count, chunk.tile_count);
  pick = decide::Pick(-1, 0, 0);
  if (sums.argmax < 0) return;
  int low = 0, high = chunk.vocabulary;  // candidates that may be chosen are in front
  while (low < high) {
    const int middle = (low + high) / 2;
    if (sorted[middle].logit > -INFINITY)
      low = middle + 1;
    else
      high = middle;
  }
  const int kept = decide::kept_candidates(sorted, low, true, sums, request.sampler);
  pick = decide::pick_from_candidates(sorted, kept, sums, request.sampler, head.position,
                                      request.window.denoise_forwards);
}

}  // namespace

size_t sort_bytes(int32_t vocabulary) {
  const size_t words = (static_cast<size_t>(vocabulary) + 63) / 64 * 64;
  return words * (4 * sizeof(float) + sizeof(decide::Candidate)) + Layout::cub_bytes(vocabulary);
}

int launch_pick_sorted(const HeadChunk& chunk, const StepView& step, int32_t row, void* memory,
                       cudaStream_t stream) {
  const int n = chunk.vocabulary;
  Layout at(memory, n);
  const float* const logits = chunk.logits + static_cast<int64_t>(row) * n;
  const auto blocks = static_cast<unsigned>((n + kThreads - 1) / kThreads);
  reverse_kernel<<<blocks, kThreads, 0, stream>>>(logits, n, at.keys, at.ids);
  const cudaError_t sorted = cub::DeviceRadixSort::SortPairsDescending(
      at.scratch, at.scratch_bytes, at.keys, at.sorted_keys, at.ids, at.sorted_ids, n, 0,
      static_cast<int>(sizeof(float)) * 8, stream);
  if (sorted != cudaSuccess) return static_cast<int>(sorted);
  join_kernel<<<blocks, kThreads, 0, stream>>>(at.sorted_keys, at.sorted_ids, n, at.candidates);
  choose_kernel<<<1, 1, 0, stream>>>(chunk, step, row, at.candidates);
  return static_cast<int>(cudaGetLastError());
}

}  // namespace diffulex::cuda
