#include "cuda/kernels/attention.h"

#include "cuda/kernels/attention_item.h"

namespace diffulex::cuda {

namespace {

bool computable(const AttentionArgs& args) {
  const KeyValues& kv = args.kv;
  if (kv.dtype != DType::kF32 && kv.dtype != DType::kBF16) return false;
  if (kv.dim < 16 || kv.dim > kMaxHeadDim || kv.dim % 8 != 0) return false;
  if (kv.kv_heads <= 0 || args.heads <= 0 || args.heads % kv.kv_heads != 0) return false;
  if (kv.page_size <= 0 || kv.flight_rows < 0 || args.table_stride < 0) return false;
  if (args.max_keys <= 0) return false;
  // The maximum of scaled scores is taken before scaling.
  return args.sliding_window >= 0 && args.scale > 0 && args.item_count >= 0;
}

}  // namespace

int attention_item_rows(int heads, int kv_heads) {
  const int group = heads / kv_heads;
  return group >= kItemVectors ? 1 : kItemVectors / group;
}

size_t attention_workspace_bytes(DType dtype, int heads, int kv_heads, int dim, int max_items,
                                 int max_keys) {
  if (dtype != DType::kBF16) return 0;
  return attention_workspace_bf16(heads, kv_heads, dim, max_items, max_keys);
}

int launch_attention(const AttentionArgs& args, cudaStream_t stream) {
  if (!computable(args)) return static_cast<int>(cudaErrorInvalidValue);
  if (args.item_count == 0) return static_cast<int>(cudaSuccess);
  return args.kv.dtype == DType::kF32 ? launch_attention_f32(args, stream)
                                      : launch_attention_bf16(args, stream);
}

}  // namespace diffulex::cuda
