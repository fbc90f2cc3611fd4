// Attention in bf16 where there is little of it: a block takes 16 query vectors of one KV head, its
// warps share the work on them. It does what attention_bf16.cu does, in the same order, so either
// gives the same bits.
#pragma once

#include "cuda/kernels/attention_item.h"

namespace diffulex::cuda {

// Whether a launch has so few blocks of the other kernel that this one is the faster.
bool attention_is_narrow(const AttentionArgs& args, int wide_blocks, int parts);

size_t attention_workspace_narrow(int wide_blocks, int heads, int kv_heads, int dim, int max_items,
                                  int parts);

// parts: of keys, that blocks of their own sum. Returns a cudaError_t.
int launch_attention_narrow(const AttentionArgs& args, int parts, cudaStream_t stream);

}  // namespace diffulex::cuda
