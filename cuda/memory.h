// Memory that a backend owns. Sized once; not initialised.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <utility>

#include "cuda/error.h"

namespace diffulex::cuda {

// Allocate and Free: functions of the CUDA runtime.
template <auto Allocate, auto Free>
class Memory {
 public:
  Memory() = default;
  explicit Memory(size_t bytes) : bytes_(bytes) {
    if (bytes > 0) check_allocation(Allocate(&data_, bytes), bytes);
  }
  ~Memory() {
    if (data_ != nullptr) (void)Free(data_);
  }
  Memory(Memory&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
  Memory& operator=(Memory&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }

  template <class T = std::byte>
  T* as() const {
    return static_cast<T*>(data_);
  }
  size_t bytes() const { return bytes_; }

 private:
  void* data_ = nullptr;
  size_t bytes_ = 0;
};

inline cudaError_t allocate_device(void** p, size_t bytes) { return cudaMalloc(p, bytes); }
inline cudaError_t allocate_pinned(void** p, size_t bytes) { return cudaMallocHost(p, bytes); }

using DeviceMemory = Memory<allocate_device, cudaFree>;
using PinnedMemory = Memory<allocate_pinned, cudaFreeHost>;  // of the host, for asynchronous copies

}  // namespace diffulex::cuda
