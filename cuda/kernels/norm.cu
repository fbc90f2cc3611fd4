// Embedding, RMSNorm and the rows that are carried over.
#include <type_traits>

#include "cuda/kernels/body.h"
#include "cuda/kernels/element.h"
#include "cuda/kernels/launch.h"

namespace diffulex::cuda {
namespace {

constexpr int kThreads = 256;

// The first kernel of a step behind its upload and its page tables: only when these are there may
// the next ones begin, so that all of them find a step to read before they wait.
template <class T>
__global__ void embed_kernel(const T* table, StepView step, int hidden, float* out) {
  wait_for_kernel_before();
  let_next_kernel_begin();
  const int64_t row = blockIdx.x;
  if (row >= step.counts->rows) return;
  const T* const __restrict__ from = table + static_cast<int64_t>(step.tokens[row]) * hidden;
  float* const __restrict__ to = out + row * hidden;
#pragma unroll 4
  for (int i = static_cast<int>(threadIdx.x) * 4; i < hidden; i += kThreads * 4)
    store4(to + i, load4(from + i));
}

constexpr int kFewRows = 256;

// The quads of a row that one thread works on: `first` + k * kThreads.
struct ThreadQuads {
  float4* x;
  const float4* parts;
  int64_t stride;
  int first, quads;

  __device__ ThreadQuads(const NormArgs& a, int64_t row, int k)
      : x(reinterpret_cast<float4*>(a.x) + row * (a.hidden / 4)),
        parts(reinterpret_cast<const float4*>(a.product.parts) + row * (a.hidden / 4)),
        stride(a.product.stride / 4),
        first(static_cast<int>(threadIdx.x) + k * kThreads),
        quads(a.hidden / 4) {}
  __device__ int at(int k) const { return first + k * kThreads; }
  __device__ bool has(int k) const { return at(k) < quads; }

  // With what is added to them. No load waits for the result of another one.
  template <int kCount>
  __device__ void load(const NormArgs& a, float4 (&v)[kCount]) const {
#pragma unroll
    for (int k = 0; k < kCount; ++k) v[k] = has(k) ? x[at(k)] : float4{0, 0, 0, 0};
    if (a.bias != nullptr)
#pragma unroll
      for (int k = 0; k < kCount; ++k)
        if (has(k)) v[k] = add(v[k], reinterpret_cast<const float4*>(a.bias)[at(k)]);
#pragma unroll 4
    for (int s = 0; s < a.product.splits; ++s)
#pragma unroll
      for (int k = 0; k < kCount; ++k)
        if (has(k)) v[k] = add(v[k], parts[stride * s + at(k)]);
  }
};

__device__ inline bool keeps_sums(const NormArgs& a) {
  return a.keep && (a.bias != nullptr || a.product.splits > 0);
}

// The weights of a thread's quads. Where there are few rows they are read before the kernel in
// front has ended, since nobody knows how far away they are; many rows have them near.
template <bool early, int kKept>
struct KeptWeights {
  float4 quads[kKept];

  __device__ explicit KeptWeights(const NormArgs& a) {
#pragma unroll
    for (int k = 0; k < kKept; ++k) {
      const int i = static_cast<int>(threadIdx.x) + k * kThreads;
      if (i < a.hidden / 4) quads[k] = load4(a.weight + 4 * i);
    }
  }
  __device__ float4 get(const NormArgs&, int k, int) const { return quads[k]; }
};
template <int kKept>
struct KeptWeights<false, kKept> {
  __device__ explicit KeptWeights(const NormArgs&) {}
  __device__ float4 get(const NormArgs& a, int, int i) const { return load4(a.weight + 4 * i); }
};

__device__ inline float4 scaled(float4 v, float scale, float4 w) {
  return {v.x * scale * w.x, v.y * scale * w.y, v.z * scale * w.z, v.w * scale * w.w};
}

// Four values at a time; the first kKept quads that a thread has read stay in its registers.
template <bool early, int kKept, class T>
__device__ void norm_row(const NormArgs& a, const KeptWeights<early, kKept>& weights, int64_t row,
                         T* out, float* shared) {
  const ThreadQuads mine(a, row, 0);
  const bool keeps = keeps_sums(a);
  float4 kept[kKept], one[1];
  mine.load(a, kept);
  float total = 0;
#pragma unroll
  for (int k = 0; k < kKept; ++k) total += squares(kept[k]);
  for (int k = kKept; mine.has(k); ++k) {
    ThreadQuads(a, row, k).load(a, one);
    total += squares(one[0]);
    if (keeps) mine.x[mine.at(k)] = one[0];
  }
  const float scale = rsqrtf(block_sum(total, shared) / static_cast<float>(a.hidden) + a.eps);
#pragma unroll
  for (int k = 0; k < kKept; ++k) {
    const int i = mine.at(k);
    if (i >= mine.quads) break;
    store4(out + 4 * i, scaled(kept[k], scale, weights.get(a, k, i)));
    if (keeps) mine.x[i] = kept[k];
  }
  NormArgs again = a;  // what was kept must not be added twice
  if (a.keep) again.bias = nullptr, again.product.splits = 0;
  for (int k = kKept; mine.has(k); ++k) {
    ThreadQuads(a, row, k).load(again, one);
    store4(out + 4 * mine.at(k), scaled(one[0], scale, load4(a.weight + 4 * mine.at(k))));
  }
}

template <class T, bool early, int kKept>
__global__ void __launch_bounds__(kThreads) norm_kernel(const NormArgs a) {
  __shared__ float shared[kThreads / 32];
  let_next_kernel_begin();
  const int64_t row = blockIdx.x, hidden = a.hidden;
  const bool there = row < *a.count;
  const int64_t from = there && a.from != nullptr ? a.from[row] : row;
  const KeptWeights<early, kKept> weights(a);
  wait_for_kernel_before();
  if (!there) return;
  T* const out = static_cast<T*>(a.out) + row * hidden;
  if (from >= 0) {
    norm_row(a, weights, from, out, shared);
    return;
  }
  const T* const kept = static_cast<const T*>(a.carried) + ~from * hidden;
  for (int i = static_cast<int>(threadIdx.x); i < hidden; i += static_cast<int>(blockDim.x))
    out[i] = kept[i];
}

template <class T, int kKept>
__global__ void __launch_bounds__(kThreads)
    carry_kernel(const NormArgs a, const StepView step, T* carried) {
  __shared__ float shared[kThreads / 32];
  let_next_kernel_begin();
  wait_for_kernel_before();
  if (static_cast<int32_t>(blockIdx.x) >= step.counts->carries) return;
  const CarryInfo c = step.carries[blockIdx.x];
  norm_row(a, KeptWeights<false, kKept>(a), c.row,
           carried + static_cast<int64_t>(c.slot) * a.hidden, shared);
}

template <class From, class To>
__global__ void convert_kernel(const From* from, To* to, int64_t n) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < n; i += step)
    store(to + i, to_float(from[i]));
}

// Calls fn with how many quads of a row a thread keeps, as a type: all of rows of up to 4,096.
template <class Fn>
int with_kept(int hidden, Fn&& fn) {
  if (hidden <= 4 * 2 * kThreads) return fn(std::integral_constant<int, 2>());
  return fn(std::integral_constant<int, 4>());
}

}  // namespace

int launch_embed(const void* table, DType dtype, const StepView& step, int hidden, float* out,
                 cudaStream_t stream) {
  const int rows = step.shape.rows;
  if (rows == 0) return 0;
  if (hidden % 4 != 0) return static_cast<int>(cudaErrorInvalidValue);
  return with_element(dtype, [&](auto t) {
    using T = decltype(t);
    return launch(embed_kernel<T>, {dim3(static_cast<unsigned>(rows)), kThreads}, stream,
                  static_cast<const T*>(table), step, hidden, out);
  });
}

int launch_norm(const NormArgs& args, cudaStream_t stream) {
  if (args.rows == 0) return 0;
  if (args.hidden % 4 != 0) return static_cast<int>(cudaErrorInvalidValue);
  return with_element(args.dtype, [&](auto t) {
    return with_kept(args.hidden, [&](auto kept) {
      using T = decltype(t);
      constexpr int kKept = decltype(kept)::value;
      const auto kernel =
          args.rows <= kFewRows ? norm_kernel<T, true, kKept> : norm_kernel<T, false, kKept>;
      return launch(kernel, {dim3(static_cast<unsigned>(args.rows)), kThreads}, stream, args);
    });
  });
}

int launch_carry(const NormArgs& args, const StepView& step, void* carried, cudaStream_t stream) {
  const int count = step.shape.carries;
  if (count == 0) return 0;
  return with_element(args.dtype, [&](auto t) {
    return with_kept(args.hidden, [&](auto kept) {
      using T = decltype(t);
      return launch(carry_kernel<T, decltype(kept)::value>,
                    {dim3(static_cast<unsigned>(count)), kThreads}, stream, args, step,
                    static_cast<T*>(carried));
    });
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
