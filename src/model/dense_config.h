// The config.json keys that all dense Qwen- and Llama-like families share.
#pragma once

#include "model/arch.h"
#include "model/config_reader.h"

namespace diffulex {

// What a family assumes of keys that its files may leave out.
struct DenseDefaults {
  int head_dim = 0;  // 0: hidden_size / num_attention_heads, as for an explicit null
  double rope_theta = 10000;
  double norm_eps = 1e-6;
};

// Fills sizes, norms, rope and biases; throws for every key that is missing, mistyped or
// unsupported. Family name, qk_norm and the diffusion facts are left to the caller.
ArchSpec read_dense_config(ConfigReader& config, const DenseDefaults& defaults);

}  // namespace diffulex
