// Attention in bf16 for Hopper where there is much of it: the operations of attention_bf16.cu in
// the same order, by warpgroup products. It gives the same bits.
#pragma once

#include "cuda/kernels/attention_item.h"

namespace diffulex::cuda {

// Whether a launch's items have vectors enough for it.
bool attention_fills_warpgroups(const AttentionArgs& args);

// args.workspace: one Partial for every multiprocessor if a request may have several parts of keys.
// Returns a cudaError_t.
int launch_attention_warpgroups(const AttentionArgs& args, bool several_parts, cudaStream_t stream);

}  // namespace diffulex::cuda
