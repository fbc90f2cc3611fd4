// One warpgroup's product of a k-step whose left side is in registers: d[64, n] (+)= a[64, 16] b,
// bf16 with f32 sums. b is in shared memory (matrix_descriptor): as [n, 16], or kTransposed as
// [16, n]. Lane l of warp w holds rows 16 w + l / 4 (elements 0 and 1 of each four) and that + 8
// (2 and 3), columns 8 j + l % 4 * 2 + {0, 1} in four number j; of a: the same rows and columns,
// the four registers being rows, rows + 8, and both again 8 columns on. Without kAdd d is
// overwritten.
#pragma once

#include "cuda/kernels/hopper.h"

namespace diffulex::cuda {

// d[64, 64] of the warpgroup.
template <bool kAdd, bool kTransposed>
__device__ inline void multiply_registers([[maybe_unused]] float (&d)[8][4],
                                          [[maybe_unused]] const uint32_t (&a)[4],
                                          [[maybe_unused]] uint64_t b) {
#if DIFFULEX_HOPPER
  asm volatile(
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, "
      "%8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, "
      "%24, %25, %26, %27, %28, %29, %30, %31}, "
      "{%32, %33, %34, %35}, %36, %37, 1, 1, %38;"
      : "+f"(d[0][0]), "+f"(d[0][1]), "+f"(d[0][2]), "+f"(d[0][3]), "+f"(d[1][0]), "+f"(d[1][1]),
        "+f"(d[1][2]), "+f"(d[1][3]), "+f"(d[2][0]), "+f"(d[2][1]), "+f"(d[2][2]), "+f"(d[2][3]),
        "+f"(d[3][0]), "+f"(d[3][1]), "+f"(d[3][2]), "+f"(d[3][3]), "+f"(d[4][0]), "+f"(d[4][1]),
        "+f"(d[4][2]), "+f"(d[4][3]), "+f"(d[5][0]), "+f"(d[5][1]), "+f"(d[5][2]), "+f"(d[5][3]),
        "+f"(d[6][0]), "+f"(d[6][1]), "+f"(d[6][2]), "+f"(d[6][3]), "+f"(d[7][0]), "+f"(d[7][1]),
        "+f"(d[7][2]), "+f"(d[7][3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "n"(kAdd ? 1 : 0),
        "n"(kTransposed ? 1 : 0));
#endif
}

// d[64, 128] of the warpgroup.
template <bool kAdd, bool kTransposed>
__device__ inline void multiply_registers([[maybe_unused]] float (&d)[16][4],
                                          [[maybe_unused]] const uint32_t (&a)[4],
                                          [[maybe_unused]] uint64_t b) {
#if DIFFULEX_HOPPER
  asm volatile(
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, "
      "%8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, "
      "%24, %25, %26, %27, %28, %29, %30, %31, "
      "%32, %33, %34, %35, %36, %37, %38, %39, "
      "%40, %41, %42, %43, %44, %45, %46, %47, "
      "%48, %49, %50, %51, %52, %53, %54, %55, "
      "%56, %57, %58, %59, %60, %61, %62, %63}, "
      "{%64, %65, %66, %67}, %68, %69, 1, 1, %70;"
      : "+f"(d[0][0]), "+f"(d[0][1]), "+f"(d[0][2]), "+f"(d[0][3]), "+f"(d[1][0]), "+f"(d[1][1]),
        "+f"(d[1][2]), "+f"(d[1][3]), "+f"(d[2][0]), "+f"(d[2][1]), "+f"(d[2][2]), "+f"(d[2][3]),
        "+f"(d[3][0]), "+f"(d[3][1]), "+f"(d[3][2]), "+f"(d[3][3]), "+f"(d[4][0]), "+f"(d[4][1]),
        "+f"(d[4][2]), "+f"(d[4][3]), "+f"(d[5][0]), "+f"(d[5][1]), "+f"(d[5][2]), "+f"(d[5][3]),
        "+f"(d[6][0]), "+f"(d[6][1]), "+f"(d[6][2]), "+f"(d[6][3]), "+f"(d[7][0]), "+f"(d[7][1]),
        "+f"(d[7][2]), "+f"(d[7][3]), "+f"(d[8][0]), "+f"(d[8][1]), "+f"(d[8][2]), "+f"(d[8][3]),
        "+f"(d[9][0]), "+f"(d[9][1]), "+f"(d[9][2]), "+f"(d[9][3]), "+f"(d[10][0]), "+f"(d[10][1]),
        "+f"(d[10][2]), "+f"(d[10][3]), "+f"(d[11][0]), "+f"(d[11][1]), "+f"(d[11][2]),
        "+f"(d[11][3]), "+f"(d[12][0]), "+f"(d[12][1]), "+f"(d[12][2]), "+f"(d[12][3]),
        "+f"(d[13][0]), "+f"(d[13][1]), "+f"(d[13][2]), "+f"(d[13][3]), "+f"(d[14][0]),
        "+f"(d[14][1]), "+f"(d[14][2]), "+f"(d[14][3]), "+f"(d[15][0]), "+f"(d[15][1]),
        "+f"(d[15][2]), "+f"(d[15][3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "n"(kAdd ? 1 : 0),
        "n"(kTransposed ? 1 : 0));
#endif
}

// The two words of a matrix_descriptor() apart, so that places in a matrix are found by adding to
// one. of_columns: of a matrix [k, n] in columns of 64 that are so many bytes apart, as a
// kTransposed right side.
struct MatrixPlace {
  uint32_t low, high;

  __device__ explicit MatrixPlace(const void* matrix, uint32_t of_columns = 0)
      : low(static_cast<uint32_t>(matrix_descriptor(matrix)) +
            (of_columns == 0 ? 0 : (of_columns / 16 - 1) << 16)),
        high(static_cast<uint32_t>(matrix_descriptor(matrix) >> 32)) {}
  __device__ uint64_t behind(uint32_t bytes) const {
    return uint64_t{high} << 32 | (low + bytes / 16);
  }
};

// Registers of products in flight stay where they are: nothing that is computed with them moves
// across.
template <int n>
__device__ inline void hold(float (&x)[n][4]) {
#pragma unroll
  for (int i = 0; i < n; ++i)
#pragma unroll
    for (int e = 0; e < 4; ++e) asm volatile("" : "+f"(x[i][e])::"memory");
}

template <int n>
__device__ inline void hold(uint32_t (&x)[n][4]) {
#pragma unroll
  for (int i = 0; i < n; ++i)
#pragma unroll
    for (int e = 0; e < 4; ++e) asm volatile("" : "+r"(x[i][e])::"memory");
}

}  // namespace diffulex::cuda
