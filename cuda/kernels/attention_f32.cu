// Attention in f32, with plain multiply-adds: the exact one, for checks and small models.
#include <cuda_runtime.h>

#include "cuda/kernels/attention_item.h"

namespace diffulex::cuda {
namespace {

constexpr int kWarps = 8, kThreads = kWarps * 32;
constexpr int kWarpVectors = 4;
constexpr int kVectors = kWarps * kWarpVectors;  // of a block
constexpr int kKeys = 32;                        // of a tile: one a lane
constexpr int kPad = 4;                          // floats; keeps float4 reads of 8 lanes in 8 banks

struct SharedF32 {  // each line is dim + kPad floats
  float* queries;   // [kVectors]
  float* keys;      // [kKeys]
  float* values;    // [kKeys]
};

// Lines [0, count) from the global addresses that source(line) tells; null gives zeros.
template <class Source>
__device__ void load_lines(float* to, int count, int dim, const Source& source) {
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  for (int line = warp; line < count; line += kWarps) {
    const float* const from = source(line);
    for (int d = lane * 4; d < dim; d += 128) {
      const float4 x =
          from == nullptr ? float4{0, 0, 0, 0} : *reinterpret_cast<const float4*>(from + d);
      *reinterpret_cast<float4*>(to + line * (dim + kPad) + d) = x;
    }
  }
}

__device__ void load_tile(const AttentionArgs& args, const ItemView& view, const ItemKeys& keys,
                          Divisor page_size, int32_t at, const SharedF32& shared) {
  const auto source = [&](const void* pages, const void* flight) {
    return [&, pages, flight](int line) -> const float* {
      if (!keys.visible(at + line)) return nullptr;
      const int32_t page = find_page(view, page_size, at + line);
      const KeyPlace place = place_key(args.kv, view, page_size, at + line, page);
      return static_cast<const float*>(place.cached ? pages : flight) + place.element;
    };
  };
  load_lines(shared.keys, kKeys, args.kv.dim, source(args.kv.page_keys, args.kv.flight_keys));
  load_lines(shared.values, kKeys, args.kv.dim, source(args.kv.page_values, args.kv.flight_values));
}

__device__ float warp_max(float x) {
  for (int i = 16; i > 0; i /= 2) x = fmaxf(x, __shfl_xor_sync(~0u, x, i));
  return x;
}

__device__ float warp_sum(float x) {
  for (int i = 16; i > 0; i /= 2) x += __shfl_xor_sync(~0u, x, i);
  return x;
}

// Scores of the warp's vectors with the lane's key.
__device__ void add_scores(const float* queries, const float* key, int dim,
                           float (&scores)[kWarpVectors]) {
  for (int d = 0; d < dim; d += 4) {
    const float4 k = *reinterpret_cast<const float4*>(key + d);
#pragma unroll
    for (int v = 0; v < kWarpVectors; ++v) {
      const float4 q = *reinterpret_cast<const float4*>(queries + v * (dim + kPad) + d);
      scores[v] = fmaf(q.x, k.x, scores[v]);
      scores[v] = fmaf(q.y, k.y, scores[v]);
      scores[v] = fmaf(q.z, k.z, scores[v]);
      scores[v] = fmaf(q.w, k.w, scores[v]);
    }
  }
}

// kDims: a lane's dims, at lane + 32 * i.
template <int kDims>
__global__ void __launch_bounds__(kThreads, 1)
    attention_f32_kernel(const AttentionArgs args, int chunks, Divisor page_size) {
  extern __shared__ float4 memory[];
  __shared__ int32_t limits[4];
  const BlockIndex index = block_index(args, chunks);
  const ItemView view = view_item(args, index.item, index.head);
  const int begin = index.chunk * kVectors;
  const int count = min(view.vectors - begin, kVectors);
  if (count <= 0) return;
  const ItemKeys keys = item_keys(args, view, limits);
  const int dim = args.kv.dim, line = dim + kPad;
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  SharedF32 shared;
  shared.queries = reinterpret_cast<float*>(memory);
  shared.keys = shared.queries + kVectors * line;
  shared.values = shared.keys + kKeys * line;
  load_lines(shared.queries, kVectors, dim, [&](int v) -> const float* {
    if (v >= count) return nullptr;
    return static_cast<const float*>(args.queries) + vector_element(args, view, begin + v);
  });

  decide::KeyRange ranges[kWarpVectors];
  float top[kWarpVectors], sum[kWarpVectors], out[kWarpVectors][kDims];
#pragma unroll
  for (int v = 0; v < kWarpVectors; ++v) {
    const int vector = warp * kWarpVectors + v;
    ranges[v] = {0, 0, 0, 0};
    if (vector < count) ranges[v] = row_range(args, view, (begin + vector) / view.group);
    top[v] = -INFINITY, sum[v] = 0;
#pragma unroll
    for (int i = 0; i < kDims; ++i) out[v][i] = 0;
  }

  const float scale2 = args.scale * kLog2E;
  for (int32_t at = keys.next_tile(keys.begin / kKeys * kKeys, kKeys); at < keys.end;
       at = keys.next_tile(at + kKeys, kKeys)) {
    __syncthreads();
    load_tile(args, view, keys, page_size, at, shared);
    __syncthreads();
    float weights[kWarpVectors] = {};
    add_scores(shared.queries + warp * kWarpVectors * line, shared.keys + lane * line, dim,
               weights);
    const bool seen = keys.visible(at + lane);
#pragma unroll
    for (int v = 0; v < kWarpVectors; ++v) {
      const bool sees = seen && at + lane >= ranges[v].begin && at + lane < ranges[v].end;
      const float score = sees ? weights[v] * scale2 : -INFINITY;
      const float next = fmaxf(top[v], warp_max(score));
      const float shift = next == -INFINITY ? 0.0f : next;  // nothing seen yet: weights are 0
      const float decay = exp2f(top[v] - shift);
      weights[v] = exp2f(score - shift);
      sum[v] = fmaf(sum[v], decay, warp_sum(weights[v]));
      top[v] = next;
#pragma unroll
      for (int i = 0; i < kDims; ++i) out[v][i] *= decay;
    }
    for (int j = 0; j < kKeys; ++j) {
      float w[kWarpVectors];
#pragma unroll
      for (int v = 0; v < kWarpVectors; ++v) w[v] = __shfl_sync(~0u, weights[v], j);
#pragma unroll
      for (int i = 0; i < kDims; ++i) {
        const float x = lane + 32 * i < dim ? shared.values[j * line + lane + 32 * i] : 0.0f;
#pragma unroll
        for (int v = 0; v < kWarpVectors; ++v) out[v][i] = fmaf(w[v], x, out[v][i]);
      }
    }
  }

#pragma unroll
  for (int v = 0; v < kWarpVectors; ++v) {
    const int vector = warp * kWarpVectors + v;
    if (vector >= count) continue;
    float* const to = static_cast<float*>(args.out) + vector_element(args, view, begin + vector);
#pragma unroll
    for (int i = 0; i < kDims; ++i)
      if (lane + 32 * i < dim) to[lane + 32 * i] = sum[v] > 0 ? out[v][i] / sum[v] : 0.0f;
  }
}

template <int kDims>
cudaError_t launch(const AttentionArgs& args, cudaStream_t stream) {
  const size_t bytes =
      sizeof(float) * static_cast<size_t>((kVectors + 2 * kKeys) * (args.kv.dim + kPad));
  const cudaError_t error =
      cudaFuncSetAttribute(attention_f32_kernel<kDims>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                           static_cast<int>(bytes));
  if (error != cudaSuccess) return error;
  const int chunks = item_chunks(args.heads, args.kv.kv_heads, kVectors);
  const auto blocks = static_cast<unsigned>(args.item_count * args.kv.kv_heads * chunks);
  attention_f32_kernel<kDims>
      <<<blocks, kThreads, bytes, stream>>>(args, chunks, divisor(args.kv.page_size));
  return cudaGetLastError();
}

}  // namespace

int launch_attention_f32(const AttentionArgs& args, cudaStream_t stream) {
  if (args.kv.dim <= 64) return static_cast<int>(launch<2>(args, stream));
  if (args.kv.dim <= 128) return static_cast<int>(launch<4>(args, stream));
  if (args.kv.dim <= 256) return static_cast<int>(launch<8>(args, stream));
  return static_cast<int>(launch<16>(args, stream));
}

}  // namespace diffulex::cuda
