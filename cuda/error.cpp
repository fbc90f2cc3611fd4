#include "cuda/error.h"

#include <string>

#include "base/error.h"

namespace diffulex::cuda {

void check(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  const auto kind =
      status == cudaErrorMemoryAllocation ? DIFFULEX_E_DEVICE_MEMORY : DIFFULEX_E_DEVICE_FAULT;
  (void)cudaGetLastError();  // what is not sticky is told once
  throw Error(kind, std::string(what) + ": " + cudaGetErrorString(status));
}

CurrentDevice::CurrentDevice(int device) {
  int current = -1;
  if (cudaGetDevice(&current) == cudaSuccess && current == device) return;
  check(cudaSetDevice(device), "cudaSetDevice");
  before_ = current;
}

CurrentDevice::~CurrentDevice() {
  if (before_ >= 0) (void)cudaSetDevice(before_);
}

}  // namespace diffulex::cuda
