// From what the CUDA runtime says to Errors.
#pragma once

#include <cuda.h>
#include <cuda_runtime_api.h>

namespace diffulex::cuda {

// Throws Error: DIFFULEX_E_DEVICE_MEMORY when the device has none left, DIFFULEX_E_DEVICE_FAULT for
// everything else. what: the call, e.g. "cudaMalloc".
void check(cudaError_t status, const char* what);
inline void check(int status, const char* what) { check(static_cast<cudaError_t>(status), what); }

// For an allocation of so many bytes on the current device, or in pinned memory: with the details
// "bytes_needed" and "bytes_free" when there are not as many.
void check_allocation(cudaError_t status, size_t bytes);

// Makes a device's primary context current and puts back what the caller had, which may be a
// context of the driver's API or none.
class CurrentDevice {
 public:
  explicit CurrentDevice(int device);
  ~CurrentDevice();
  CurrentDevice(const CurrentDevice&) = delete;
  CurrentDevice& operator=(const CurrentDevice&) = delete;

 private:
  const CUcontext before_;
};

}  // namespace diffulex::cuda
