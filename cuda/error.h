// From what the CUDA runtime says to Errors.
#pragma once

#include <cuda_runtime_api.h>

namespace diffulex::cuda {

// Throws Error: DIFFULEX_E_DEVICE_MEMORY when the device has none left, DIFFULEX_E_DEVICE_FAULT for
// everything else. what: the call, e.g. "cudaMalloc".
void check(cudaError_t status, const char* what);
inline void check(int status, const char* what) { check(static_cast<cudaError_t>(status), what); }

// Makes a device current and puts the caller's back.
class CurrentDevice {
 public:
  explicit CurrentDevice(int device);
  ~CurrentDevice();
  CurrentDevice(const CurrentDevice&) = delete;
  CurrentDevice& operator=(const CurrentDevice&) = delete;

 private:
  int before_ = -1;  // -1: the caller had none, or it is the same one
};

}  // namespace diffulex::cuda
