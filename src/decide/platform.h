// Decision functions are compiled for the host and, by nvcc, for the device: no allocation, no
// virtual call, no exception.
#pragma once

#include <cstdint>

#if defined(__CUDACC__)
#define DIFFULEX_HD __host__ __device__
#else
#define DIFFULEX_HD
#endif
