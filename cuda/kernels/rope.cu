// Heads out of the QKV product, and other small kernels of the body.
#include "cuda/kernels/launch.h"
#include "cuda/kernels/rope_head.h"

namespace diffulex::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kWarps = kThreads / 32;

// Elements [i, i + 4) of a head that begins at element `begin` of the product.
template <class T>
__device__ float4 load_elements(const RopeArgs& a, int64_t begin, int head, int i) {
  float4 x{0, 0, 0, 0};
  if (a.product.parts == nullptr) x = load4(static_cast<const T*>(a.qkv) + begin + i);
#pragma unroll 4
  for (int s = 0; s < a.product.splits; ++s)
    x = add(x, load4(a.product.parts + a.product.stride * s + begin + i));
  return a.bias == nullptr ? x : add(x, load4(a.bias + head * a.kv.dim + i));
}

// Called by whole warps: head may be behind the last.
template <class T, int kQuads>
__device__ void rotate_head(const RopeArgs& a, const RowPlace& place, const HeadShare& share,
                            int head, const float4 (&cos)[kQuads], const float4 (&sin)[kQuads],
                            bool* waited) {
  const int dim = a.kv.dim, half = dim / 2, all = a.heads + 2 * a.kv.kv_heads;
  const bool there = head < all;
  const float* const weight = head_weight(a, head);
  HeadPart<kQuads> weights{}, x{};
  const auto has = [&](int k) { return there && share.first + 128 * k < half; };
#pragma unroll
  for (int k = 0; k < kQuads; ++k) {
    const int i = share.first + 128 * k;
    if (weight != nullptr && has(k))
      weights.low[k] = load4(weight + i), weights.high[k] = load4(weight + i + half);
  }
  if (!*waited) wait_for_kernel_before(), *waited = true;
  const int64_t begin = (place.row * all + head) * dim;
#pragma unroll
  for (int k = 0; k < kQuads; ++k) {
    const int i = share.first + 128 * k;
    if (!has(k)) continue;
    x.low[k] = load_elements<T>(a, begin, head, i);
    x.high[k] = load_elements<T>(a, begin, head, i + half);
  }
  const float scale = head_scale(a, share, x);
  if (there) store_head<T>(a, place, share, head, scale, x, weights, cos, sin);
}

// What is constant in the step is read while the kernel in front still runs.
template <class T, int kQuads>
__global__ void __launch_bounds__(kThreads) rope_kernel(const RopeArgs a, const StepView step) {
  let_next_kernel_begin();
  const int row = static_cast<int>(blockIdx.x), half = a.kv.dim / 2;
  bool waited = false;
  if (row < step.counts->rows) {
    const HeadShare share(a.kv.dim);
    const RowPlace place = place_of(a, step, row);
    const float* const angles = a.angles + int64_t{place.position} * a.kv.dim;
    float4 cos[kQuads], sin[kQuads];
#pragma unroll
    for (int k = 0; k < kQuads; ++k) {
      const int i = share.first + 128 * k;
      if (i < half) cos[k] = load4(angles + i), sin[k] = load4(angles + half + i);
    }
    const int at_once = share.heads(), stride = at_once * kWarps * static_cast<int>(gridDim.y);
    const int warp = static_cast<int>(blockIdx.y) * kWarps + static_cast<int>(threadIdx.x) / 32;
    for (int head = warp * at_once; head < a.heads + 2 * a.kv.kv_heads; head += stride)
      rotate_head<T, kQuads>(a, place, share, head + share.head(), cos, sin, &waited);
  }
  if (!waited) wait_for_kernel_before();
}

__global__ void angles_kernel(float* angles, int64_t positions, int dim, double theta) {
  const int half = dim / 2;
  const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x, count = positions * half;
  for (int64_t n = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; n < count;
       n += step) {
    const int64_t position = n / half, i = n % half;
    const double angle = static_cast<double>(position) *
                         pow(theta, -2.0 * static_cast<double>(i) / static_cast<double>(dim));
    angles[position * dim + i] = static_cast<float>(cos(angle));
    angles[position * dim + half + i] = static_cast<float>(sin(angle));
  }
}

// Four neighbours of a row at a time.
template <class T, bool kBias>
__global__ void __launch_bounds__(kThreads)
    swiglu_kernel(const T* gate_up, const float* bias, int mlp, T* out) {
  let_next_kernel_begin();
  wait_for_kernel_before();
  const int64_t row = blockIdx.y;
  const T* const from = gate_up + row * 2 * mlp;
  const int i = 4 * static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i >= mlp) return;
  float4 gate = load4(from + i), up = load4(from + mlp + i);
  if (kBias) gate = add(gate, load4(bias + i)), up = add(up, load4(bias + mlp + i));
  store4(out + row * mlp + i, {activated(gate.x, up.x), activated(gate.y, up.y),
                               activated(gate.z, up.z), activated(gate.w, up.w)});
}

__global__ void tables_kernel(StepView step, int32_t* tables, int table_stride) {
  let_next_kernel_begin();
  wait_for_kernel_before();
  if (static_cast<int32_t>(blockIdx.x) >= step.counts->requests) return;
  const RequestRow& request = step.requests[blockIdx.x];
  int32_t* const table =
      tables + static_cast<int64_t>(request.slot) * table_stride + request.table_offset;
  for (uint32_t i = threadIdx.x; i < request.page_count; i += blockDim.x)
    table[i] = step.pages[request.page_begin + i];
}

unsigned blocks_for(int64_t n) {
  const int64_t blocks = (n + kThreads - 1) / kThreads;
  return static_cast<unsigned>(blocks < 65536 ? blocks : 65536);
}

}  // namespace

int launch_rope(const RopeArgs& args, const StepView& step, cudaStream_t stream) {
  constexpr int kManyRows = 256;  // from here on blocks take all heads of a row
  const int dim = args.kv.dim, heads = args.heads + 2 * args.kv.kv_heads;
  if (dim % 8 != 0 || dim > 512) return static_cast<int>(cudaErrorInvalidValue);
  if (step.shape.rows == 0) return 0;
  const int groups = step.shape.rows >= kManyRows ? 1 : (heads + 2 * kWarps - 1) / (2 * kWarps);
  const dim3 blocks(static_cast<unsigned>(step.shape.rows), static_cast<unsigned>(groups));
  return with_element(args.kv.dtype, [&](auto t) {
    using T = decltype(t);
    const auto kernel = dim <= 256 ? rope_kernel<T, 1> : rope_kernel<T, 2>;
    return launch(kernel, {blocks, kThreads}, stream, args, step);
  });
}

int launch_swiglu(const void* gate_up, const float* bias, DType dtype, int rows, int mlp, void* out,
                  cudaStream_t stream) {
  if (rows == 0) return 0;
  if (mlp % 4 != 0 || rows > 65535) return static_cast<int>(cudaErrorInvalidValue);
  return with_element(dtype, [&](auto t) {
    using T = decltype(t);
    const dim3 blocks(blocks_for(mlp / 4), static_cast<unsigned>(rows));
    const auto kernel = bias != nullptr ? swiglu_kernel<T, true> : swiglu_kernel<T, false>;
    return launch(kernel, {blocks, kThreads}, stream, static_cast<const T*>(gate_up), bias, mlp,
                  static_cast<T*>(out));
  });
}

int launch_angles(float* angles, int64_t positions, int dim, float theta, cudaStream_t stream) {
  angles_kernel<<<blocks_for(positions * dim / 2), kThreads, 0, stream>>>(angles, positions, dim,
                                                                          double{theta});
  return static_cast<int>(cudaGetLastError());
}

int launch_tables(const StepView& step, int32_t* tables, int table_stride, cudaStream_t stream) {
  if (step.shape.requests == 0) return 0;
  return launch(tables_kernel, {dim3(static_cast<unsigned>(step.shape.requests)), kThreads}, stream,
                step, tables, table_stride);
}

}  // namespace diffulex::cuda
