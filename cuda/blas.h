// Matrix products through cuBLASLt, which is opened when the first CUDA engine is made: the library
// itself loads without it.
#pragma once

#include <cublasLt.h>
#include <cuda_runtime_api.h>

#include <cstdint>
#include <map>
#include <string>
#include <tuple>

#include "base/dtype.h"
#include "cuda/memory.h"

namespace diffulex::cuda {

struct BlasApi;  // the functions of cuBLASLt

// y[rows, n] = x[rows, k] * transpose(w[n, k]), row-major; with accumulate it is added to y.
struct Product {
  const void* x;
  const void* w;
  void* y;
  int64_t rows, n, k;
  DType in;   // of x and w
  DType out;  // of y; f32 when in is f32
  bool accumulate;
};

// Thread class: the backend's owner thread only. The device must be current.
class Blas {
 public:
  Blas();  // throws Error(DIFFULEX_E_DEVICE_UNAVAILABLE) when cuBLASLt cannot be opened
  ~Blas();
  Blas(const Blas&) = delete;
  Blas& operator=(const Blas&) = delete;

  // Throws Error(DIFFULEX_E_DEVICE_FAULT).
  void run(const Product& product, cudaStream_t stream);
  std::string version() const;  // "13.0.2"
  uint64_t workspace_bytes() const { return workspace_.bytes(); }

 private:
  using Key = std::tuple<int64_t, int64_t, int64_t, DType, DType, bool>;
  struct Kernel {
    cublasLtMatmulDesc_t operation = nullptr;
    cublasLtMatrixLayout_t w = nullptr, x = nullptr, y = nullptr;
    cublasLtMatmulAlgo_t algorithm{};
  };
  const Kernel& kernel(const Product& product);
  Kernel make(const Product& product) const;
  void check(cublasStatus_t status, const char* what) const;

  const BlasApi& api_;
  cublasLtHandle_t handle_ = nullptr;
  DeviceMemory workspace_;
  std::map<Key, Kernel> kernels_;
};

}  // namespace diffulex::cuda
