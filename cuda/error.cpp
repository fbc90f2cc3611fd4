#include "cuda/error.h"

#include <string>

#include "base/error.h"
#include "cuda/driver.h"

namespace diffulex::cuda {
namespace {

// Only called where a device is there, and with it the driver.
CUcontext current_context() {
  static const auto get =
      reinterpret_cast<decltype(&cuCtxGetCurrent)>(driver_function("cuCtxGetCurrent"));
  CUcontext context = nullptr;
  return get != nullptr && get(&context) == CUDA_SUCCESS ? context : nullptr;
}

void set_context(CUcontext context) {
  static const auto set =
      reinterpret_cast<decltype(&cuCtxSetCurrent)>(driver_function("cuCtxSetCurrent"));
  if (set != nullptr) (void)set(context);
}

}  // namespace

void check(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  const auto kind =
      status == cudaErrorMemoryAllocation ? DIFFULEX_E_DEVICE_MEMORY : DIFFULEX_E_DEVICE_FAULT;
  (void)cudaGetLastError();  // what is not sticky is told once
  throw Error(kind, std::string(what) + ": " + cudaGetErrorString(status));
}

void check_allocation(cudaError_t status, size_t bytes) {
  if (status != cudaErrorMemoryAllocation) {
    check(status, "an allocation");
    return;
  }
  (void)cudaGetLastError();
  size_t free = 0, total = 0;
  if (cudaMemGetInfo(&free, &total) != cudaSuccess) (void)cudaGetLastError();
  throw Error(DIFFULEX_E_DEVICE_MEMORY, "an allocation of " + std::to_string(bytes) +
                                            " bytes failed; the device has " +
                                            std::to_string(free) + " free")
      .with("bytes_needed", std::to_string(bytes))
      .with("bytes_free", std::to_string(free));
}

CurrentDevice::CurrentDevice(int device) : before_(current_context()) {
  check(cudaSetDevice(device), "cudaSetDevice");
}

CurrentDevice::~CurrentDevice() { set_context(before_); }

}  // namespace diffulex::cuda
