// Heads out of the QKV product: bias, RMSNorm per head, rotation, and their way to queries, flight
// and pages. One warp per head of a row.
#include "cuda/kernels/body.h"
#include "cuda/kernels/element.h"
#include "cuda/kernels/launch.h"

namespace diffulex::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kMaxPairs = 8;  // of a lane: heads of up to 512

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
__device__ void put(const Target<T>& target, int i, float x) {
  store(target.out + i, x);
  if (target.page != nullptr) store(target.page + i, x);
}

// Element i of a head that begins at element `begin` of the product.
template <class T>
__device__ float load_element(const RopeArgs& a, int64_t begin, int i) {
  if (a.product.parts == nullptr) return to_float(static_cast<const T*>(a.qkv)[begin + i]);
  float x = 0;
#pragma unroll 4
  for (int s = 0; s < a.product.splits; ++s) x += a.product.parts[a.product.stride * s + begin + i];
  return x;
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
  wait_for_kernel_before();
  let_next_kernel_begin();
  if (!there) return;
  const int64_t begin = (row * all + head) * dim;
  float low[kMaxPairs], high[kMaxPairs], squares = 0;
#pragma unroll
  for (int k = 0; k < kMaxPairs; ++k) {
    const int i = lane + 32 * k;
    if (i >= half) break;
    low[k] = load_element<T>(a, begin, i);
    high[k] = load_element<T>(a, begin, i + half);
    if (a.bias != nullptr)
      low[k] += a.bias[head * dim + i], high[k] += a.bias[head * dim + half + i];
    squares += low[k] * low[k] + high[k] * high[k];
  }
  const float scale =
      weight != nullptr ? rsqrtf(warp_sum(squares) / static_cast<float>(dim) + a.eps) : 1.0f;
#pragma unroll
  for (int k = 0; k < kMaxPairs; ++k) {
    const int i = lane + 32 * k;
    if (i >= half) break;
    float u = low[k], v = high[k];
    if (weight != nullptr) {
      u *= scale * weight[i];
      v *= scale * weight[i + half];
    }
    const float cos = value ? 1.0f : angles[i], sin = value ? 0.0f : angles[half + i];
    put(target, i, u * cos - v * sin);
    put(target, i + half, v * cos + u * sin);
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

template <class T>
__global__ void swiglu_kernel(const T* gate_up, int64_t rows, int64_t mlp, T* out) {
  let_next_kernel_begin();
  wait_for_kernel_before();
  const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t n = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; n < rows * mlp;
       n += step) {
    const int64_t row = n / mlp, i = n % mlp;
    const float gate = to_float(gate_up[row * 2 * mlp + i]);
    const float up = to_float(gate_up[row * 2 * mlp + mlp + i]);
    store(out + n, gate / (1.0f + expf(-gate)) * up);
  }
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
  if (args.kv.dim % 2 != 0 || args.kv.dim > 64 * kMaxPairs)
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
  return with_element(dtype, [&](auto t) {
    using T = decltype(t);
    return launch(swiglu_kernel<T>, {dim3(blocks_for(static_cast<int64_t>(rows) * mlp)), kThreads},
                  stream, static_cast<const T*>(gate_up), rows, mlp, static_cast<T*>(out));
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
