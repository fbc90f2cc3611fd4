// Loads and stores of the compute types as f32. Device code only.
#pragma once

#include <cuda_bf16.h>

#include "base/dtype.h"

namespace diffulex::cuda {

__device__ inline float to_float(float x) { return x; }
__device__ inline float to_float(__nv_bfloat16 x) { return __bfloat162float(x); }
__device__ inline void store(float* at, float x) { *at = x; }
__device__ inline void store(__nv_bfloat16* at, float x) { *at = __float2bfloat16(x); }

// Several neighbours at a time; the first one's place must be a multiple of as many.
__device__ inline float2 load2(const float* at) { return *reinterpret_cast<const float2*>(at); }
__device__ inline float2 load2(const __nv_bfloat16* at) {
  return __bfloat1622float2(*reinterpret_cast<const __nv_bfloat162*>(at));
}
__device__ inline void store2(float* at, float2 x) { *reinterpret_cast<float2*>(at) = x; }
__device__ inline void store2(__nv_bfloat16* at, float2 x) {
  *reinterpret_cast<__nv_bfloat162*>(at) = __float22bfloat162_rn(x);
}
__device__ inline float4 load4(const float* at) { return *reinterpret_cast<const float4*>(at); }
__device__ inline float4 load4(const __nv_bfloat16* at) {
  const uint2 bits = *reinterpret_cast<const uint2*>(at);
  const float2 a = __bfloat1622float2(reinterpret_cast<const __nv_bfloat162&>(bits.x));
  const float2 b = __bfloat1622float2(reinterpret_cast<const __nv_bfloat162&>(bits.y));
  return {a.x, a.y, b.x, b.y};
}
__device__ inline void store4(float* at, float4 x) { *reinterpret_cast<float4*>(at) = x; }
__device__ inline void store4(__nv_bfloat16* at, float4 x) {
  const __nv_bfloat162 pairs[2] = {__floats2bfloat162_rn(x.x, x.y),
                                   __floats2bfloat162_rn(x.z, x.w)};
  *reinterpret_cast<uint2*>(at) = *reinterpret_cast<const uint2*>(pairs);
}

__device__ inline float4 add(float4 a, float4 b) {
  return {a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w};
}
__device__ inline float squares(float4 v) { return v.x * v.x + v.y * v.y + v.z * v.z + v.w * v.w; }

// silu(gate) * up.
__device__ inline float activated(float gate, float up) {
  return __fdividef(gate, 1.0f + __expf(-gate)) * up;
}

// The same of a product's sums, which are rounded first, as a product that stores them does.
__device__ inline float activated_rounded(float gate, float up) {
  return activated(to_float(__float2bfloat16(gate)), to_float(__float2bfloat16(up)));
}

__device__ inline float warp_sum(float x) {
  for (int offset = 16; offset > 0; offset /= 2) x += __shfl_xor_sync(0xffffffffu, x, offset);
  return x;
}

// Sum over the block, in every thread. shared: one float per warp.
__device__ inline float block_sum(float x, float* shared) {
  x = warp_sum(x);
  const int warp = static_cast<int>(threadIdx.x) / 32, warps = static_cast<int>(blockDim.x) / 32;
  if (threadIdx.x % 32 == 0) shared[warp] = x;
  __syncthreads();
  float sum = 0;
  for (int i = 0; i < warps; ++i) sum += shared[i];
  __syncthreads();
  return sum;
}

// Calls fn(T()) with the element type of a compute dtype; anything else is refused.
template <class Fn>
int with_element(DType dtype, Fn&& fn) {
  if (dtype == DType::kF32) return fn(float());
  if (dtype == DType::kBF16) return fn(__nv_bfloat16());
  return static_cast<int>(cudaErrorInvalidValue);
}

}  // namespace diffulex::cuda
