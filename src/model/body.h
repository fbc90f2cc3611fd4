// The transformer of every dense family, read from top to bottom. A backend gives the operations; each sees all rows of the step.
#pragma once

#include "model/arch.h"

namespace diffulex {

// x is the residual stream, a the input of the next projection.
template <class Ops>
void transformer_body(const ArchSpec& arch, Ops& ops) {
  ops.embed();                            // x = E[ids]
  for (int layer = 0; layer < static_cast<int>(arch.layers.size()); ++layer) {
    ops.input_norm(layer);                // a = RMSNorm(x)
    ops.qkv(layer);                       // q, k, v = a Wqkv (+ bias)
    ops.rope_and_store(layer);            // q, k = RoPE(RMSNorm per head); final k, v go to their pages
    ops.attention(layer);                 // a = softmax(q k) v, under the step's masks
    ops.attention_output(layer);          // x += a Wo (+ bias)
    ops.mlp_norm(layer);                  // a = RMSNorm(x)
    ops.gate_up(layer);                   // m = silu(a Wgate) * (a Wup)
    ops.down(layer);                      // x += m Wdown
  }
  ops.head_norm();                        // h = RMSNorm(x) of the rows that the sampler reads
}

}  // namespace diffulex
