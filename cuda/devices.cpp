#include <cuda_runtime_api.h>

#include <cstdio>

#include "cuda/cuda_backend.h"
#include "cuda/error.h"

namespace diffulex::cuda {
namespace {

constexpr int kLeastMajor = 8;

std::string id_of(const cudaUUID_t& uuid) {
  std::string id = "GPU-";
  for (int i = 0; i < 16; ++i) {
    char digits[3];
    std::snprintf(digits, sizeof(digits), "%02x", static_cast<unsigned char>(uuid.bytes[i]));
    if (i == 4 || i == 6 || i == 8 || i == 10) id += '-';
    id += digits;
  }
  return id;
}

DeviceFacts facts_of(int device) {
  DeviceFacts facts;
  cudaDeviceProp properties{};
  if (const cudaError_t status = cudaGetDeviceProperties(&properties, device);
      status != cudaSuccess) {
    (void)cudaGetLastError();
    facts.reason = cudaGetErrorString(status);
    return facts;
  }
  facts.name = properties.name;
  facts.id = id_of(properties.uuid);
  facts.memory_total = properties.totalGlobalMem;
  facts.major = properties.major;
  facts.minor = properties.minor;
  if (properties.major < kLeastMajor)
    facts.reason = "compute capability " + std::to_string(properties.major) + "." +
                   std::to_string(properties.minor) + " is below 8.0";
  return facts;
}

}  // namespace

std::vector<DeviceFacts> devices(std::string* why) {
  int count = 0;
  std::vector<DeviceFacts> found;
  if (const cudaError_t status = cudaGetDeviceCount(&count); status != cudaSuccess) {
    (void)cudaGetLastError();
    *why = cudaGetErrorString(status);
    return found;
  }
  if (count == 0) *why = "the driver knows no device";
  for (int device = 0; device < count; ++device) found.push_back(facts_of(device));
  return found;
}

uint64_t free_memory(int device) {
  const CurrentDevice current(device);
  size_t free = 0, total = 0;
  check(cudaMemGetInfo(&free, &total), "cudaMemGetInfo");
  return free;
}

}  // namespace diffulex::cuda
