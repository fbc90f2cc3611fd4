// The QKV product of many rows, whose heads are normalised, rotated and stored behind the next
// tile's product: a tile has one head of 256 rows.
#include <cuda_bf16.h>

#include "cuda/kernels/product_many.h"
#include "cuda/kernels/rope_head.h"

namespace diffulex::cuda {
namespace {

constexpr int kDim = ManyShape::kGroups * kProductColumns;  // of a head
constexpr int kLineBytes = kDim * 2;                        // of a row
constexpr int kRows = ManyShape::kTokens;
constexpr int kLanes = kDim / 8;  // that share a head
constexpr int kRowsAtOnce = kFinishingThreads / kLanes;

// Where 8 columns of a row are: rows that are written or read together find them in other banks.
__device__ inline int place_in_line(int row, int eight) { return (eight ^ row % 8) * 16; }

struct RotateAndStore {
  static constexpr bool kHalves = false;
  struct Memory {
    uint8_t lines[kRows * kLineBytes];
    RowPlace places[kRows];  // row -1: there is none
  };
  RopeArgs rope;
  StepView step;

  // A warp's 16 columns of 8 rows are two matrices across its lanes, stored transposed, of 16 rows
  // at a time.
  __device__ static void put_down(const ManySums& sums, int group, Memory& memory) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    const int warp = static_cast<int>(threadIdx.x) / 32 % 4;
    const int row = lane / 16 * 8 + lane % 8, eight = group * 8 + warp * 2 + lane / 8 % 2;
    const uint32_t at = shared_address(memory.lines) +
                        static_cast<uint32_t>(row * kLineBytes + place_in_line(row, eight));
#pragma unroll
    for (int i = 0; i < kRows / 8; i += 2) {
      const float* const s = &sums[4 * i];
      const uint32_t matrices[4] = {pack_bf16(s[0], s[1]), pack_bf16(s[2], s[3]),
                                    pack_bf16(s[4], s[5]), pack_bf16(s[6], s[7])};
      store_transposed(at + static_cast<uint32_t>(i) * 8 * kLineBytes, matrices);
    }
  }

  __device__ void begin(const ProductArgs&, const ProductTile& tile, int thread,
                        Memory& memory) const {
    wait_for_finishing_threads();  // all have read the last tile's
    for (int i = thread; i < kRows; i += kFinishingThreads) {
      const int row = tile.row + i;
      memory.places[i] = row < step.counts->rows ? place_of(rope, step, row) : RowPlace{-1, -1, 0};
    }
    wait_for_finishing_threads();
  }

  struct Angles {
    float4 cos[1], sin[1];
  };
  // Of a row, or of the last one.
  __device__ Angles angles_of(const Memory& memory, int row, int first) const {
    const int64_t position = memory.places[min(row, kRows - 1)].position;
    const float* const from = rope.angles + position * kDim + first;
    return {{load4(from)}, {load4(from + kDim / 2)}};
  }

  // Several rows at a time, the next ones' angles asked for before: a warp has its scheduler for
  // itself, and no other warp to hide a wait behind.
  __device__ void finish(const ProductArgs&, const ProductTile& tile, int thread,
                         const Memory& memory) const {
    constexpr int kTogether = 2;
    const int head = tile.column / kDim;
    if (head >= rope.heads + 2 * rope.kv.kv_heads) return;
    const HeadShare share(kDim);
    const HeadPart<1> weights = load_part(head_weight(rope, head), share.first);
    const HeadPart<1> bias =
        load_part(rope.bias == nullptr ? nullptr : rope.bias + head * kDim, share.first);
    int row = thread / kLanes;
    Angles next[kTogether];
#pragma unroll
    for (int i = 0; i < kTogether; ++i)
      next[i] = angles_of(memory, row + i * kRowsAtOnce, share.first);
    // Whole warps stay together: kRows and what a warp has of them are even.
    for (; row < kRows; row += kRowsAtOnce * kTogether) {
      Angles angles[kTogether];
      HeadPart<1> x[kTogether];
      float scale[kTogether];
#pragma unroll
      for (int i = 0; i < kTogether; ++i) {
        angles[i] = next[i];
        next[i] = angles_of(memory, row + (kTogether + i) * kRowsAtOnce, share.first);
        x[i] = part_of_line(memory, min(row + i * kRowsAtOnce, kRows - 1), share.first);
        if (rope.bias != nullptr)
          x[i].low[0] = add(x[i].low[0], bias.low[0]),
          x[i].high[0] = add(x[i].high[0], bias.high[0]);
      }
#pragma unroll
      for (int i = 0; i < kTogether; ++i) scale[i] = head_scale(rope, share, x[i]);
#pragma unroll
      for (int i = 0; i < kTogether; ++i) {
        if (row + i * kRowsAtOnce >= kRows) continue;
        const RowPlace place = memory.places[row + i * kRowsAtOnce];
        if (place.row >= 0)
          store_head<__nv_bfloat16, 1>(rope, place, share, head, scale[i], x[i], weights,
                                       angles[i].cos, angles[i].sin);
      }
    }
  }

  __device__ static HeadPart<1> load_part(const float* from, int first) {
    if (from == nullptr) return {};
    return {{load4(from + first)}, {load4(from + first + kDim / 2)}};
  }
  __device__ static HeadPart<1> part_of_line(const Memory& memory, int row, int first) {
    const uint8_t* const line = memory.lines + row * kLineBytes;
    const auto quad = [&](int i) {
      return load4(
          reinterpret_cast<const __nv_bfloat16*>(line + place_in_line(row, i / 8) + i % 8 * 2));
    };
    return {{quad(first)}, {quad(first + kDim / 2)}};
  }
};
static_assert(kRows % 2 == 0 && kRowsAtOnce % 2 == 0);

}  // namespace

bool rotated_fills(const ProductArgs& args, const RopeArgs& rope) {
  return rope.kv.dim == kDim && rope.kv.dtype == DType::kBF16 && is_computable(args) &&
         ManyGrid(args, args.n).fills(args);
}

int launch_rotated_product(const ProductArgs& args, const RopeArgs& rope, const StepView& step,
                           cudaStream_t stream) {
  if (rope.kv.dim != kDim || rope.kv.dtype != DType::kBF16 || args.splits != 1 ||
      args.rows <= kOneTileRows || !is_computable(args))
    return static_cast<int>(cudaErrorInvalidValue);
  return launch_many(args, args.n, RotateAndStore{rope, step}, stream);
}

}  // namespace diffulex::cuda
