// Data on its way to a device and back, for the tests of kernels.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <cstddef>
#include <random>
#include <vector>

#include "cuda/memory.h"

namespace gpu_test {

template <class T>
std::vector<T> down(const diffulex::cuda::DeviceMemory& memory, size_t count) {
  std::vector<T> out(count);
  diffulex::cuda::check(
      cudaMemcpy(out.data(), memory.as(), count * sizeof(T), cudaMemcpyDeviceToHost), "copy");
  return out;
}

template <class T>
diffulex::cuda::DeviceMemory up(const std::vector<T>& data) {
  diffulex::cuda::DeviceMemory memory(data.size() * sizeof(T));
  diffulex::cuda::check(
      cudaMemcpy(memory.as(), data.data(), data.size() * sizeof(T), cudaMemcpyHostToDevice),
      "copy");
  return memory;
}

inline std::vector<__nv_bfloat16> random_values(size_t count, std::mt19937& rng, float scale) {
  std::normal_distribution<float> normal(0, scale);
  std::vector<__nv_bfloat16> values(count);
  for (auto& v : values) v = __float2bfloat16(normal(rng));
  return values;
}

}  // namespace gpu_test
