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
  double mlp_ratio = 0;  // intermediate_size over hidden_size; 0: the key must be there
  int kv_heads = 0;      // 0: as many as query heads
};

// How a family spells the keys.
struct DenseKeys {
  const char* hidden_size = "hidden_size";
  const char* mlp_size = "intermediate_size";
  const char* layers = "num_hidden_layers";
  const char* heads = "num_attention_heads";
  const char* kv_heads = "num_key_value_heads";
  const char* positions = "max_position_embeddings";
  const char* tied = "tie_word_embeddings";
  const char* activation = "hidden_act";
};

// Fills sizes, norms, rope and biases; throws for every key that is missing, mistyped or
// unsupported. qk_norm and the diffusion facts are left to the caller.
ArchSpec read_dense_config(ConfigReader& config, const DenseDefaults& defaults,
                           const DenseKeys& keys = {});

}  // namespace diffulex
