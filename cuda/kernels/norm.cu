// Embedding, RMSNorm and the rows that are carried over.
#include "cuda/kernels/body.h"
#include "cuda/kernels/element.h"

namespace diffulex::cuda {
namespace {

constexpr int kThreads = 256;

template <class T>
__global__ void embed_kernel(const T* table, StepView step, int hidden, float* out) {
  const int64_t row = blockIdx.x;
  if (row >= step.counts->rows) return;
  const T* const from = table + static_cast<int64_t>(step.tokens[row]) * hidden;
  for (int i = static_cast<int>(threadIdx.x); i < hidden; i += static_cast<int>(blockDim.x))
    out[row * hidden + i] = to_float(from[i]);
}

__device__ inline void store4(float* at, float4 x) { *reinterpret_cast<float4*>(at) = x; }
__device__ inline void store4(__nv_bfloat16* at, float4 x) {
  __nv_bfloat162 pair[2] = {__floats2bfloat162_rn(x.x, x.y), __floats2bfloat162_rn(x.z, x.w)};
  *reinterpret_cast<uint2*>(at) = *reinterpret_cast<const uint2*>(pair);
}
__device__ inline float squares_of(float4 v) {
  return v.x * v.x + v.y * v.y + v.z * v.z + v.w * v.w;
}

// Four values at a time; what a thread has read stays in its registers.
template <class T>
__device__ void norm_row(const NormArgs& a, float* x, T* out, float* shared) {
  constexpr int kKept = 4;  // quads of a thread: rows of up to 4,096 are read once
  const int quads = a.hidden / 4;
  auto* const row = reinterpret_cast<float4*>(x);
  const auto* const bias = reinterpret_cast<const float4*>(a.bias);
  const auto* const weight = reinterpret_cast<const float4*>(a.weight);
  float4 kept[kKept];
  float squares = 0;
#pragma unroll
  for (int k = 0; k < kKept; ++k) {
    const int i = static_cast<int>(threadIdx.x) + k * kThreads;
    if (i >= quads) break;
    float4 v = row[i];
    if (bias != nullptr) {
      const float4 more = bias[i];
      v = float4{v.x + more.x, v.y + more.y, v.z + more.z, v.w + more.w};
      row[i] = v;
    }
    kept[k] = v;
    squares += squares_of(v);
  }
  for (int i = static_cast<int>(threadIdx.x) + kKept * kThreads; i < quads; i += kThreads) {
    float4 v = row[i];
    if (bias != nullptr) {
      const float4 more = bias[i];
      v = float4{v.x + more.x, v.y + more.y, v.z + more.z, v.w + more.w};
      row[i] = v;
    }
    squares += squares_of(v);
  }
  const float scale = rsqrtf(block_sum(squares, shared) / static_cast<float>(a.hidden) + a.eps);
  const auto scaled = [&](int i, float4 v) {
    const float4 w = weight[i];
    store4(out + 4 * i,
           float4{v.x * scale * w.x, v.y * scale * w.y, v.z * scale * w.z, v.w * scale * w.w});
  };
#pragma unroll
  for (int k = 0; k < kKept; ++k) {
    const int i = static_cast<int>(threadIdx.x) + k * kThreads;
    if (i < quads) scaled(i, kept[k]);
  }
  for (int i = static_cast<int>(threadIdx.x) + kKept * kThreads; i < quads; i += kThreads)
    scaled(i, row[i]);
}

template <class T>
__global__ void norm_kernel(NormArgs a) {
  __shared__ float shared[kThreads / 32];
  const int64_t row = blockIdx.x, hidden = a.hidden;
  if (row >= *a.count) return;
  const int64_t from = a.from != nullptr ? a.from[row] : row;
  T* const out = static_cast<T*>(a.out) + row * hidden;
  if (from < 0) {
    const T* const kept = static_cast<const T*>(a.carried) + ~from * hidden;
    for (int i = static_cast<int>(threadIdx.x); i < hidden; i += static_cast<int>(blockDim.x))
      out[i] = kept[i];
    return;
  }
  norm_row(a, a.x + from * hidden, out, shared);
}

template <class T>
__global__ void carry_kernel(NormArgs a, StepView step, T* carried) {
  __shared__ float shared[kThreads / 32];
  if (static_cast<int32_t>(blockIdx.x) >= step.counts->carries) return;
  const CarryInfo c = step.carries[blockIdx.x];
  const int64_t hidden = a.hidden;
  norm_row(a, a.x + c.row * hidden, carried + c.slot * hidden, shared);
}

template <class From, class To>
__global__ void convert_kernel(const From* from, To* to, int64_t n) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < n; i += step)
    store(to + i, to_float(from[i]));
}

}  // namespace

int launch_embed(const void* table, DType dtype, const StepView& step, int hidden, float* out,
                 cudaStream_t stream) {
  const int rows = step.shape.rows;
  if (rows == 0) return 0;
  return with_element(dtype, [&](auto t) {
    using T = decltype(t);
    embed_kernel<<<rows, kThreads, 0, stream>>>(static_cast<const T*>(table), step, hidden, out);
    return static_cast<int>(cudaGetLastError());
  });
}

int launch_norm(const NormArgs& args, cudaStream_t stream) {
  if (args.rows == 0) return 0;
  if (args.hidden % 4 != 0) return static_cast<int>(cudaErrorInvalidValue);
  return with_element(args.dtype, [&](auto t) {
    norm_kernel<decltype(t)><<<args.rows, kThreads, 0, stream>>>(args);
    return static_cast<int>(cudaGetLastError());
  });
}

int launch_carry(const NormArgs& args, const StepView& step, void* carried, cudaStream_t stream) {
  const int count = step.shape.carries;
  if (count == 0) return 0;
  return with_element(args.dtype, [&](auto t) {
    using T = decltype(t);
    carry_kernel<T><<<count, kThreads, 0, stream>>>(args, step, static_cast<T*>(carried));
    return static_cast<int>(cudaGetLastError());
  });
}

int launch_convert(const void* from, DType from_dtype, void* to, DType to_dtype, int64_t n,
                   cudaStream_t stream) {
  if (n == 0) return 0;
  const auto blocks = static_cast<unsigned>(n / kThreads + 1 < 4096 ? n / kThreads + 1 : 4096);
  return with_element(from_dtype, [&](auto f) {
    return with_element(to_dtype, [&](auto t) {
      using From = decltype(f);
      using To = decltype(t);
      convert_kernel<<<blocks, kThreads, 0, stream>>>(static_cast<const From*>(from),
                                                      static_cast<To*>(to), n);
      return static_cast<int>(cudaGetLastError());
    });
  });
}

}  // namespace diffulex::cuda
