// Decision functions are compiled for the host and, by nvcc, for the device: no allocation, no
// virtual call, no exception.
#pragma once

#include <cstdint>

#if defined(__CUDACC__)
#define DIFFULEX_HD __host__ __device__
#else
#define DIFFULEX_HD
#endif

namespace diffulex::decide {

// A product that is rounded by itself: no compiler makes one operation of it and of the sum that it
// goes into, so whoever computes both gets the same bits.
DIFFULEX_HD inline float multiply(float a, float b) {
#if defined(__CUDA_ARCH__)
  return __fmul_rn(a, b);
#else
  return a * b;
#endif
}

}  // namespace diffulex::decide
