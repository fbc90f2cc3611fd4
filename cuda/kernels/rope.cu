// Heads out of the QKV product: bias, RMSNorm per head, rotation, and their way to queries, flight
// and pages. A warp takes a head of a row, or several where there are many rows.
#include "cuda/kernels/body.h"
#include "cuda/kernels/element.h"
#include "cuda/kernels/launch.h"

namespace diffulex::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kWarps = kThreads / 32;

// Where the head's result goes; page is null where it is not stored.
template <class T>
struct Target {
  T* out;
  T* page;
};

// A row's place.
struct RowPlace {
  int64_t row;
  int64_t line;  // of the page, in kv_heads * page_size lines; -1: the row is not stored
  int32_t position;
};

__device__ inline RowPlace place_of(const RopeArgs& a, const StepView& step, int row) {
  const RequestRow& request = step.requests[step.row_request[row]];
  const int32_t in_request = row - static_cast<int32_t>(request.first_token);
  RowPlace place{row, -1, request.context_len + in_request};
  if (in_request >= request.store_len) return place;
  const int32_t page = place.position / a.kv.page_size;
  const int64_t slot = request.slot;
  place.line = int64_t{a.tables[slot * a.table_stride + page]} * a.kv.kv_heads * a.kv.page_size +
               (place.position - page * a.kv.page_size);
  return place;
}

template <class T>
__device__ Target<T> target_of(const RopeArgs& a, const RowPlace& place, int head) {
  const KeyValues& kv = a.kv;
  if (head < a.heads)
    return {static_cast<T*>(a.queries) + (place.row * a.heads + head) * kv.dim, nullptr};
  const bool key = head < a.heads + kv.kv_heads;
  const int kv_head = key ? head - a.heads : head - a.heads - kv.kv_heads;
  T* const flight = static_cast<T*>(key ? kv.flight_keys : kv.flight_values);
  Target<T> target{flight + (int64_t{kv_head} * kv.flight_rows + place.row) * kv.dim, nullptr};
  T* const pages = static_cast<T*>(key ? kv.page_keys : kv.page_values);
  if (place.line >= 0)
    target.page = pages + (place.line + int64_t{kv_head} * kv.page_size) * kv.dim;
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

// kPairs: of a lane, each of two neighbours in either half of a head.
template <class T, int kPairs>
__device__ void rotate_head(const RopeArgs& a, const RowPlace& place, int head,
                            const float2 (&cos)[kPairs], const float2 (&sin)[kPairs],
                            bool* waited) {
  const int dim = a.kv.dim, half = dim / 2, first = 2 * static_cast<int>(threadIdx.x % 32);
  const int all = a.heads + 2 * a.kv.kv_heads;
  const bool value = head >= a.heads + a.kv.kv_heads;
  const float* const weight = value ? nullptr : head < a.heads ? a.q_norm : a.k_norm;
  float2 weights[kPairs][2], low[kPairs], high[kPairs];
#pragma unroll
  for (int k = 0; k < kPairs; ++k) {
    const int i = first + 64 * k;
    weights[k][0] = weights[k][1] = low[k] = high[k] = {0, 0};
    if (weight != nullptr && i < half)
      weights[k][0] = load2(weight + i), weights[k][1] = load2(weight + i + half);
  }
  if (!*waited) wait_for_kernel_before(), *waited = true;
  const int64_t begin = (place.row * all + head) * dim;
  float squares = 0;
#pragma unroll
  for (int k = 0; k < kPairs; ++k) {
    const int i = first + 64 * k;
    if (i >= half) continue;
    low[k] = load_elements<T>(a, begin, head, i);
    high[k] = load_elements<T>(a, begin, head, i + half);
    squares +=
        low[k].x * low[k].x + low[k].y * low[k].y + high[k].x * high[k].x + high[k].y * high[k].y;
  }
  const float scale =
      weight != nullptr ? rsqrtf(warp_sum(squares) / static_cast<float>(dim) + a.eps) : 1.0f;
  const Target<T> target = target_of<T>(a, place, head);
#pragma unroll
  for (int k = 0; k < kPairs; ++k) {
    const int i = first + 64 * k;
    if (i >= half) continue;
    float2 u = low[k], v = high[k];
    if (weight != nullptr) u = scaled(u, scale, weights[k][0]), v = scaled(v, scale, weights[k][1]);
    const float2 c = value ? float2{1, 1} : cos[k], s = value ? float2{0, 0} : sin[k];
    put(target, i, {u.x * c.x - v.x * s.x, u.y * c.y - v.y * s.y});
    put(target, i + half, {v.x * c.x + u.x * s.x, v.y * c.y + u.y * s.y});
  }
}

// What is constant in the step is read while the kernel in front still runs.
template <class T, int kPairs>
__global__ void __launch_bounds__(kThreads) rope_kernel(const RopeArgs a, const StepView step) {
  let_next_kernel_begin();
  const int row = static_cast<int>(blockIdx.x), half = a.kv.dim / 2;
  bool waited = false;
  if (row < step.counts->rows) {
    const RowPlace place = place_of(a, step, row);
    const float* const angles = a.angles + int64_t{place.position} * a.kv.dim;
    float2 cos[kPairs], sin[kPairs];
#pragma unroll
    for (int k = 0; k < kPairs; ++k) {
      const int i = 2 * static_cast<int>(threadIdx.x % 32) + 64 * k;
      if (i < half) cos[k] = load2(angles + i), sin[k] = load2(angles + half + i);
    }
    const int stride = kWarps * static_cast<int>(gridDim.y);
    for (int head = static_cast<int>(blockIdx.y) * kWarps + static_cast<int>(threadIdx.x) / 32;
         head < a.heads + 2 * a.kv.kv_heads; head += stride)
      rotate_head<T, kPairs>(a, place, head, cos, sin, &waited);
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
  constexpr int kManyRows = 256;  // from here on blocks take all heads of a row
  const int dim = args.kv.dim, heads = args.heads + 2 * args.kv.kv_heads;
  if (dim % 8 != 0 || dim > 512) return static_cast<int>(cudaErrorInvalidValue);
  if (step.shape.rows == 0) return 0;
  const int groups = step.shape.rows >= kManyRows ? 1 : (heads + kWarps - 1) / kWarps;
  const dim3 blocks(static_cast<unsigned>(step.shape.rows), static_cast<unsigned>(groups));
  return with_element(args.kv.dtype, [&](auto t) {
    using T = decltype(t);
    const auto kernel = dim <= 128   ? rope_kernel<T, 1>
                        : dim <= 256 ? rope_kernel<T, 2>
                                     : rope_kernel<T, 4>;
    return launch(kernel, {blocks, kThreads}, stream, args, step);
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
