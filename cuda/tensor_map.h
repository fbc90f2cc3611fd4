// Descriptions of bf16 matrices for the copy engine (Hopper and newer).
#pragma once

#include <cuda.h>

#include <cstdint>

namespace diffulex::cuda {

// Columns of a box: 128 bytes, the width of its swizzle.
inline constexpr int kBoxColumns = 64;

// Whether a device has the copy engine and the driver can describe matrices for it.
bool has_copy_engine(int device);

// [rows, columns] row-major, in boxes of box_rows x kBoxColumns. Boxes may reach beyond the matrix:
// what lies there is read as zeros. columns: a multiple of 8; matrix: aligned to 16 bytes. Throws
// Error(DIFFULEX_E_DEVICE_FAULT).
CUtensorMap map_matrix(const void* matrix, int64_t rows, int64_t columns, int box_rows);

// [2 * half, columns], whose halves belong together row by row: a box has box_rows rows, 8 of the
// first half, the 8 of the second half at the same place, the next 8 of the first and so on. half:
// a multiple of 8.
CUtensorMap map_halves(const void* matrix, int64_t half, int64_t columns, int box_rows);

}  // namespace diffulex::cuda
