// Launches that may begin while the kernel before still runs (programmatic dependent launch): a
// kernel prepares what no other kernel of the step writes, then waits. Every kernel of a step
// waits, so what one finds finished is finished for all behind it.
#pragma once

#include <cuda_runtime.h>

namespace diffulex::cuda {

// Before the first access to what another kernel writes or reads.
__device__ inline void wait_for_kernel_before() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

// The next kernel's blocks may take what room there is.
__device__ inline void let_next_kernel_begin() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

inline bool kernels_may_overlap() {
  int device = 0, major = 0;
  return cudaGetDevice(&device) == cudaSuccess &&
         cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device) == cudaSuccess &&
         major >= 9;
}

struct LaunchSize {
  dim3 blocks;
  unsigned threads;
  size_t shared_bytes = 0;
  unsigned cluster = 1;  // blocks of a cluster, along x
};

// Returns a cudaError_t.
template <class... Parameters, class... Arguments>
int launch(void (*kernel)(Parameters...), const LaunchSize& size, cudaStream_t stream,
           const Arguments&... arguments) {
  cudaLaunchAttribute attributes[2];
  unsigned count = 0;
  if (kernels_may_overlap()) {
    attributes[count].id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attributes[count++].val.programmaticStreamSerializationAllowed = 1;
  }
  if (size.cluster > 1) {
    attributes[count].id = cudaLaunchAttributeClusterDimension;
    attributes[count++].val.clusterDim = {size.cluster, 1, 1};
  }
  cudaLaunchConfig_t config{};
  config.gridDim = size.blocks;
  config.blockDim = dim3(size.threads);
  config.dynamicSmemBytes = size.shared_bytes;
  config.stream = stream;
  config.attrs = attributes;
  config.numAttrs = count;
  return static_cast<int>(cudaLaunchKernelEx(&config, kernel, Parameters(arguments)...));
}

}  // namespace diffulex::cuda
