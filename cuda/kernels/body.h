// The small kernels of the transformer body. Pointers are of the device, matrices row-major, T is
// the compute type (f32 or bf16). Every launcher returns a cudaError_t.
#pragma once

#include <cuda_runtime_api.h>

#include "base/dtype.h"
#include "cuda/kernels/attention.h"
#include "cuda/kernels/step.h"

namespace diffulex::cuda {

// out[r, :] = table[tokens[r], :], as f32.
int launch_embed(const void* table, DType dtype, const StepView& step, int hidden, float* out,
                 cudaStream_t stream);

// The sum of a product over parts of k, which its reader adds in order: parts[s, row, column], f32.
struct ProductParts {
  const float* parts = nullptr;  // null: there is none
  int splits = 0;
  int64_t stride = 0;  // elements from one part to the next
};

// out[to, :] = RMSNorm(x[from, :] + bias + product) * weight. What is added stays in x if keep is
// set.
struct NormArgs {
  float* x;             // [*, hidden] f32, the residual stream
  const float* weight;  // [hidden]
  const float* bias;    // [hidden] or null
  ProductParts product;
  bool keep;
  float eps;
  int hidden;
  DType dtype;           // of out
  void* out;             // [*, hidden]
  int rows;              // to launch for
  const int32_t* count;  // rows there are
  const int32_t* from;   // [rows] or null: row i; negative: the row ~from of `carried` is copied
  const void* carried;   // [slots, hidden] of dtype, for those
};
int launch_norm(const NormArgs& args, cudaStream_t stream);

// Keeps the normalised hidden state of some rows: carried[slot, :] = RMSNorm(x[row, :]) * weight.
int launch_carry(const NormArgs& args, const StepView& step, void* carried, cudaStream_t stream);

struct RopeArgs {
  const void* qkv;       // [rows, (heads + 2 kv_heads) * dim] of kv.dtype, or null
  ProductParts product;  // instead of qkv
  const float* bias;     // of its columns, or null
  const float* q_norm;   // [dim] or null
  const float* k_norm;   // [dim] or null
  float eps;
  const float* angles;  // [positions, dim]: cos of dim / 2 frequencies, then sin
  int heads;
  KeyValues kv;
  const int32_t* tables;  // [max_requests, table_stride]
  int table_stride;
  void* queries;  // [rows, heads, dim]
};
// Splits heads, normalises and rotates them; keys and values go to the flight and, of the rows that
// the step stores, to their pages.
int launch_rope(const RopeArgs& args, const StepView& step, cudaStream_t stream);

// out[r, i] = silu(gate_up[r, i]) * gate_up[r, mlp + i]. bias: [2 * mlp], added to gate_up before,
// or null.
int launch_swiglu(const void* gate_up, const float* bias, DType dtype, int rows, int mlp, void* out,
                  cudaStream_t stream);

// cos and sin of all positions. frequencies: theta ^ (-2 i / dim).
int launch_angles(float* angles, int64_t positions, int dim, float theta, cudaStream_t stream);

// tables[slot, table_offset + i] = pages[page_begin + i], for every request of the step.
int launch_tables(const StepView& step, int32_t* tables, int table_stride, cudaStream_t stream);

// Converts n elements.
int launch_convert(const void* from, DType from_dtype, void* to, DType to_dtype, int64_t n,
                   cudaStream_t stream);

}  // namespace diffulex::cuda
