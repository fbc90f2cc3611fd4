// The head of greedy rows: a tile of logits is reduced where it is computed.
#include "cuda/kernels/product_kernel.h"

namespace diffulex::cuda {
namespace {

constexpr int kRowsAtOnce = 32;  // of logits that a warpgroup has in shared memory
constexpr int kSharers = 128 / kRowsAtOnce;
constexpr int kIds = kProductColumns / kSharers;  // of a thread
constexpr int kLine = kProductColumns + 4;        // floats: neighbouring rows in other banks

// What a thread knows of its share of a row's logits, and then of the whole row.
struct Best {
  float logit = -INFINITY, second = -INFINITY;  // second == logit: two share it
  int32_t token = -1;                           // of several the highest
};

__device__ inline Best merged_with_sharers(Best best) {
  for (int offset = kSharers / 2; offset > 0; offset /= 2) {
    const float logit = __shfl_xor_sync(~0u, best.logit, offset);
    const float second = __shfl_xor_sync(~0u, best.second, offset);
    const int32_t token = __shfl_xor_sync(~0u, best.token, offset);
    best.second = fmaxf(fminf(best.logit, logit), fmaxf(best.second, second));
    const decide::Candidate top = decide::likelier({best.logit, best.token}, {logit, token});
    best.logit = top.logit, best.token = top.token;
  }
  return best;
}

// Ids ascend, so the last of equals is the one that decide::likelier would take, as it does
// between the sharers; asking it for every id would compare each logit twice.
__device__ inline Best best_of(const float (&x)[kIds], int32_t first) {
  Best best;
#pragma unroll
  for (int i = 0; i < kIds; ++i) {
    best.second = fmaxf(best.second, fminf(best.logit, x[i]));
    best.logit = fmaxf(best.logit, x[i]);
  }
#pragma unroll
  for (int i = 0; i < kIds; ++i)
    if (x[i] == best.logit) best.token = first + i;
  return best;
}

__device__ inline float sum_of_sharers(float x) {
  for (int offset = kSharers / 2; offset > 0; offset /= 2) x += __shfl_xor_sync(~0u, x, offset);
  return x;
}

// What the sharers of a row know together about its logits x, of ids from `first` on.
__device__ inline decide::TilePartial reduce_row(const float (&x)[kIds], int32_t first) {
  const Best best = merged_with_sharers(best_of(x, first));
  const bool any = best.logit > -INFINITY;
  float sum = 0, weighted = 0;
#pragma unroll
  for (int i = 0; i < kIds; ++i) {
    const float below = any ? fmaxf(x[i] - best.logit, -1e4f) : -1e4f;  // 0 times it is 0
    const float weight = __expf(below);
    sum += weight;
    weighted += weight * below;
  }
  sum = sum_of_sharers(sum);
  weighted = sum_of_sharers(weighted);
  if (!any) return {-INFINITY, -1, 0, 0, -1, 0, -INFINITY};
  return {best.logit, best.token, sum, weighted, best.token, best.logit, best.second};
}

// Ids that can not be chosen are in few tiles, logits that are not finite in none that is sound.
__device__ inline void forbid(float (&x)[kIds], int32_t first, int32_t token_count, int32_t mask) {
  bool finite = true;
#pragma unroll
  for (int i = 0; i < kIds; ++i) finite = finite && decide::is_finite(x[i]);
  if (finite && first + kIds <= token_count && (mask < first || mask >= first + kIds)) return;
#pragma unroll
  for (int i = 0; i < kIds; ++i)
    if (decide::is_banned(first + i, token_count, mask) || !decide::is_finite(x[i]))
      x[i] = -INFINITY;
}

struct Reduce {
  static constexpr bool kHalves = false;
  template <class S>
  static constexpr size_t kBytes = kRowsAtOnce* kLine * sizeof(float);
  HeadReduction head;
  StepView step;

  // The mask of the row that the thread reduces, of each kRowsAtOnce; asked for long before.
  template <class S>
  struct Before {
    static constexpr int kTimes = (S::kTokens + kRowsAtOnce - 1) / kRowsAtOnce;
    int32_t mask[kTimes];  // -1: there is no row
  };
  template <class S>
  __device__ Before<S> begin(const ProductTile& tile) const {
    Before<S> before;
#pragma unroll
    for (int i = 0; i < Before<S>::kTimes; ++i) {
      const int32_t row = tile.row + i * kRowsAtOnce + row_of_thread();
      before.mask[i] = -1;
      if (row < step.counts->heads - head.first_head)
        before.mask[i] = step.requests[step.heads[head.first_head + row].request].blocks.mask_token;
    }
    return before;
  }
  __device__ static int row_of_thread() { return static_cast<int>(threadIdx.x) % 128 / kSharers; }

  // Rows [first, first + kRowsAtOnce) of the tile, from the threads' sums to lines of logits.
  template <class S>
  __device__ static void spread(const ProductSums<S>& sums, int first, float* logits) {
    constexpr int kRows = S::kTokens < kRowsAtOnce ? S::kTokens : kRowsAtOnce;
    const int lane = static_cast<int>(threadIdx.x) % 32;
    const int column = static_cast<int>(threadIdx.x) / 32 % 4 * 16 + lane / 4;
#pragma unroll
    for (int i = 0; i < kRows / 2; ++i)
      logits[(i / 4 * 8 + lane % 4 * 2 + i % 2) * kLine + column + i / 2 % 2 * 8] =
          sums[first / 2 + i];
  }

  __device__ void reduce(const float* logits, int32_t row, int32_t mask, int32_t tile) const {
    const int share = static_cast<int>(threadIdx.x) % kSharers;
    const auto* const line =
        reinterpret_cast<const float4*>(logits + row_of_thread() * kLine + share * kIds);
    const int32_t first = tile * kProductColumns + share * kIds;
    float x[kIds];
#pragma unroll
    for (int q = 0; q < kIds / 4; ++q) {
      const float4 four = line[q];
      x[4 * q] = four.x, x[4 * q + 1] = four.y, x[4 * q + 2] = four.z, x[4 * q + 3] = four.w;
    }
    forbid(x, first, head.token_count, mask);
    const decide::TilePartial partial = reduce_row(x, first);
    if (mask >= 0 && share == 0 && tile < head.tile_count)
      head.tiles[static_cast<int64_t>(row) * head.tile_count + tile] = partial;
  }

  template <class S>
  __device__ void finish(const ProductSums<S>& sums, const Before<S>& before, const ProductArgs&,
                         const ProductTile& tile, int group, uint8_t* memory) const {
    auto* const logits = reinterpret_cast<float*>(memory);
#pragma unroll
    for (int i = 0; i < Before<S>::kTimes; ++i) {
      spread<S>(sums, i * kRowsAtOnce, logits);
      wait_for_group(group);
      reduce(logits, tile.row + i * kRowsAtOnce + row_of_thread(), before.mask[i],
             tile.column / kProductColumns + group);
      wait_for_group(group);
    }
  }
};

}  // namespace

int launch_reduced_product(const ProductArgs& args, const HeadReduction& head, const StepView& step,
                           cudaStream_t stream) {
  if (args.splits != 1) return static_cast<int>(cudaErrorInvalidValue);
  return launch_epilogue(args, Reduce{head, step}, stream);
}

}  // namespace diffulex::cuda
