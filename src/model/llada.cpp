#include "model/llada.h"

#include <algorithm>

#include "model/dense_config.h"

namespace diffulex {
namespace {

constexpr DenseKeys kKeys = {.hidden_size = "d_model",
                             .mlp_size = "mlp_hidden_size",
                             .layers = "n_layers",
                             .heads = "n_heads",
                             .kv_heads = "n_kv_heads",
                             .positions = "max_sequence_length",
                             .tied = "weight_tying",
                             .activation = "activation_type"};

constexpr int kSeedCoderVocabulary = 155136, kSeedCoderMask = 5;  // of iLLaDA

// OLMo's switches for layers that no checkpoint of the family has.
void refuse_foreign_layers(ConfigReader& config) {
  config.refuse_flag("alibi", true, "attention biased by distance");
  config.refuse_flag("rope", false, "learned positions");
  config.refuse_flag("scale_logits", true, "scaled logits");
  config.refuse_flag("input_emb_norm", true, "normed embeddings");
  config.refuse_flag("attention_layer_norm", true, "norms of queries and keys");
  config.refuse_flag("include_bias", true, "biases of all layers");
  config.refuse_flag("bias_for_layer_norm", true, "biases of norms");
  config.refuse_flag("layer_norm_with_affine", false, "norms without weights");
  config.refuse_values("clip_qkv", "clipped queries, keys and values");
  if (config.size_or("block_group_size", 1) > 1)
    config.unsupported("block_group_size", "groups of layers");
  for (const auto& [key, value] : {std::pair{"block_type", "llama"}, {"layer_norm_type", "rms"}}) {
    const std::string found = config.text_or(key, value);
    if (found != value) config.unsupported(key, "'" + found + "' is not " + value);
  }
}

}  // namespace

bool is_llada(const ModelIdentity& identity) {
  return identity.has_architecture("LLaDAModelLM") ||
         (identity.model_type == "llada" && identity.has_d_model);
}

ArchSpec parse_llada(ConfigReader& config) {
  refuse_foreign_layers(config);
  // Trained on whole responses; d2f denoises them in blocks of 32.
  const int block_size = config.size_or("block_size", 32, kMaxBlockSize);
  const int stored_rows = config.size_or("embedding_size", ConfigReader::kMaxSize);
  const bool qkv_bias = config.flag_or("include_qkv_bias", config.flag_or("use_qkv_bias", false));
  DenseDefaults defaults;
  defaults.norm_eps = 1e-5;
  defaults.mlp_ratio = config.positive_or("mlp_ratio", 4);
  defaults.kv_heads = config.flag_or("multi_query_attention", false) ? 1 : 0;
  ArchSpec arch = read_dense_config(config, defaults, kKeys);
  if (stored_rows < arch.vocab_size)
    config.malformed("embedding_size", "must not be less than vocab_size");
  arch.stored_rows = config.has("embedding_size") ? stored_rows : arch.vocab_size;
  arch.qkv_bias = qkv_bias;
  arch.output_bias = false;
  arch.block_size = block_size;
  if (arch.vocab_size == kSeedCoderVocabulary) arch.mask_token = kSeedCoderMask;
  return arch;
}

}  // namespace diffulex
