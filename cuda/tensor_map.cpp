#include "cuda/tensor_map.h"

#include <cuda_runtime_api.h>

#include <string>

#include "base/error.h"
#include "cuda/driver.h"

namespace diffulex::cuda {
namespace {

using Encode = decltype(&cuTensorMapEncodeTiled);

Encode encode() {
  static const auto function = reinterpret_cast<Encode>(driver_function("cuTensorMapEncodeTiled"));
  return function;
}

CUtensorMap make_map(const void* matrix, cuuint32_t rank, const cuuint64_t* sizes,
                     const cuuint64_t* strides, const cuuint32_t* box) {
  CUtensorMap map{};
  const cuuint32_t steps[] = {1, 1, 1, 1};
  const Encode function = encode();
  const CUresult status =
      function == nullptr
          ? CUDA_ERROR_NOT_SUPPORTED
          : function(&map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, rank, const_cast<void*>(matrix), sizes,
                     strides, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                     CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (status != CUDA_SUCCESS)
    throw Error(DIFFULEX_E_DEVICE_FAULT,
                "the description of a matrix failed with driver error " + std::to_string(status));
  return map;
}

}  // namespace

bool has_copy_engine(int device) {
  int major = 0;
  return cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device) == cudaSuccess &&
         major == 9 && encode() != nullptr;
}

CUtensorMap map_matrix(const void* matrix, int64_t rows, int64_t columns, int box_rows) {
  const cuuint64_t sizes[] = {static_cast<cuuint64_t>(columns), static_cast<cuuint64_t>(rows)};
  const cuuint64_t strides[] = {static_cast<cuuint64_t>(columns) * 2};
  const cuuint32_t box[] = {kBoxColumns, static_cast<cuuint32_t>(box_rows)};
  return make_map(matrix, 2, sizes, strides, box);
}

CUtensorMap map_halves(const void* matrix, int64_t half, int64_t columns, int box_rows) {
  const auto line = static_cast<cuuint64_t>(columns) * 2;  // bytes
  const cuuint64_t sizes[] = {static_cast<cuuint64_t>(columns), 8, 2,
                              static_cast<cuuint64_t>(half / 8)};
  const cuuint64_t strides[] = {line, line * static_cast<cuuint64_t>(half), line * 8};
  const cuuint32_t box[] = {kBoxColumns, 8, 2, static_cast<cuuint32_t>(box_rows / 16)};
  return make_map(matrix, 4, sizes, strides, box);
}

}  // namespace diffulex::cuda
