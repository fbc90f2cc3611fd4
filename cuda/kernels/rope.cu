// Heads out of the QKV product: bias, RMSNorm per head, rotation, and their way to queries, flight
// and pages. One warp per head of a row.
#include "cuda/kernels/body.h"
#include "cuda/kernels/element.h"
#include "cuda/kernels/launch.h"

namespace diffulex::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kMaxPairs = 4;  // of a lane, of two neighbours each: heads of up to 512

// Where the head's result goes; page is null where it is not stored.
template <class T>
struct Target {
  T* out;
  T* page;
};

template <class T>
__device__ Target<T> target_of(const RopeArgs& a, const StepView& step, int64_t row, int head,
                               int32_t position, bool stored, int32_t slot) {
  const KeyValues& kv = a.kv;
  if (head < a.heads)
    return {static_cast<T*>(a.queries) + (row * a.heads + head) * kv.dim, nullptr};
  const bool key = head < a.heads + kv.kv_heads;
  const int64_t kv_head = (head - a.heads) % kv.kv_heads;
  T* const flight = static_cast<T*>(key ? kv.flight_keys : kv.flight_values);
  Target<T> target{flight + (kv_head * kv.flight_rows + row) * kv.dim, nullptr};
  if (!stored) return target;
  const int64_t page =
      a.tables[static_cast<int64_t>(slot) * a.table_stride + position / kv.page_size];
  T* const pages = static_cast<T*>(key ? kv.page_keys : kv.page_values);
  target.page =
      pages + ((page * kv.kv_heads + kv_head) * kv.page_size + position % kv.page_size) * kv.dim;
  return target;
}

template <class T>
__device__ void put(const Target<T>& target, int i, float2 x) {
  store2(target.out + i, x);
  if (target.page != nullptr) store2(target.page + i, x);
}

// Elements i and i + 1 of a head that begins at element `begin` of the product.
template <class T>
__device__ float2 load_elements(const RopeArgs& a, int64_t begin, int head, int i) {
  float2 x{0, 0};
  if (a.product.parts == nullptr) x = load2(static_cast<const T*>(a.qkv) + begin + i);
#pragma unroll 4
  for (int s = 0; s < a.product.splits; ++s) {
    const float2 part = load2(a.product.parts + a.product.stride * s + begin + i);
    x.x += part.x, x.y += part.y;
  }
  if (a.bias == nullptr) return x;
  const float2 bias = load2(a.bias + head * a.kv.dim + i);
  return {x.x + bias.x, x.y + bias.y};
}

__device__ inline float2 scaled(float2 x, float scale, float2 weight) {
  return {x.x * (scale * weight.x), x.y * (scale * weight.y)};
}

template <class T>
__global__ void __launch_bounds__(kThreads) rope_kernel(const RopeArgs a, const StepView step) {
  const int all = a.heads + 2 * a.kv.kv_heads, dim = a.kv.dim, half = dim / 2;
  const int64_t unit = (static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) / 32;
  const int64_t row = unit / all;
  const int head = static_cast<int>(unit % all), lane = static_cast<int>(threadIdx.x % 32);
  const bool there = row < step.counts->rows;
  const RequestRow& request = step.requests[there ? step.row_request[row] : 0];
  const auto in_request = static_cast<int32_t>(row - request.first_token);
  const int32_t position = request.context_len + in_request;
  const bool value = head >= a.heads + a.kv.kv_heads;
  const float* const weight = value ? nullptr : head < a.heads ? a.q_norm : a.k_norm;
  const float* const angles = a.angles + static_cast<int64_t>(position) * dim;
  Target<T> target{};
  if (there)
    target = target_of<T>(a, step, row, head, position, in_request < request.store_len,
                          static_cast<int32_t>(request.slot));
  // Constants, read while the kernel in front still runs.
  float2 cos[kMaxPairs], sin[kMaxPairs], low_weight[kMaxPairs], high_weight[kMaxPairs];
#pragma unroll
  for (int k = 0; k < kMaxPairs; ++k) {
    const int i = 2 * (lane + 32 * k);
    if (i >= half || !there) break;
    cos[k] = low_weight[k] = high_weight[k] = {1, 1};
    sin[k] = {0, 0};
    if (!value) cos[k] = load2(angles + i), sin[k] = load2(angles + half + i);
    if (weight != nullptr)
      low_weight[k] = load2(weight + i), high_weight[k] = load2(weight + i + half);
  }
  wait_for_kernel_before();
  let_next_kernel_begin();
  if (!there) return;
  const int64_t begin = (row * all + head) * dim;
  float2 low[kMaxPairs], high[kMaxPairs];
  float squares = 0;
#pragma unroll
  for (int k = 0; k < kMaxPairs; ++k) {
    const int i = 2 * (lane + 32 * k);
    if (i >= half) break;
    low[k] = load_elements<T>(a, begin, head, i);
    high[k] = load_elements<T>(a, begin, head, i + half);
    squares +=
        low[k].x * low[k].x + low[k].y * low[k].y + high[k].x * high[k].x + high[k].y * high[k].y;
  }
  const float scale =
      weight != nullptr ? rsqrtf(warp_sum(squares) / static_cast<float>(dim) + a.eps) : 1.0f;
#pragma unroll
  for (int k = 0; k < kMaxPairs; ++k) {
    const int i = 2 * (lane + 32 * k);
    if (i >= half) break;
    const float2 u = scaled(low[k], scale, low_weight[k]);
    const float2 v = scaled(high[k], scale, high_weight[k]);
    put(target, i, {u.x * cos[k].x - v.x * sin[k].x, u.y * cos[k].y - v.y * sin[k].y});
    put(target, i + half, {v.x * cos[k].x + u.x * sin[k].x, v.y * cos[k].y + u.y * sin[k].y});
  }
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

__device__ inline float activated(float gate, float up) {
  return gate / (1.0f + __expf(-gate)) * up;
}

// Four neighbours of a row at a time.
template <class T>
__global__ void __launch_bounds__(kThreads) swiglu_kernel(const T* gate_up, int mlp, T* out) {
  let_next_kernel_begin();
  wait_for_kernel_before();
  const int64_t row = blockIdx.y;
  const T* const from = gate_up + row * 2 * mlp;
  const int i = 4 * static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i >= mlp) return;
  const float4 gate = load4(from + i), up = load4(from + mlp + i);
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
  if (args.kv.dim % 8 != 0 || args.kv.dim > 128 * kMaxPairs)
    return static_cast<int>(cudaErrorInvalidValue);
  if (step.shape.rows == 0) return 0;
  const int64_t units = static_cast<int64_t>(step.shape.rows) * (args.heads + 2 * args.kv.kv_heads);
  const auto blocks = static_cast<unsigned>((units * 32 + kThreads - 1) / kThreads);
  return with_element(args.kv.dtype, [&](auto t) {
    return launch(rope_kernel<decltype(t)>, {dim3(blocks), kThreads}, stream, args, step);
  });
}

int launch_swiglu(const void* gate_up, DType dtype, int rows, int mlp, void* out,
                  cudaStream_t stream) {
  if (rows == 0) return 0;
  if (mlp % 4 != 0 || rows > 65535) return static_cast<int>(cudaErrorInvalidValue);
  return with_element(dtype, [&](auto t) {
    using T = decltype(t);
    const dim3 blocks(blocks_for(mlp / 4), static_cast<unsigned>(rows));
    return launch(swiglu_kernel<T>, {blocks, kThreads}, stream, static_cast<const T*>(gate_up), mlp,
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
