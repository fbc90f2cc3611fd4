#include "model/dense_config.h"

#include <cmath>
#include <string>

namespace diffulex {
namespace {

constexpr int kMaxLayers = 4096;
constexpr int kMaxPositions = 1 << 30;

// Absent and null mean different things here, as in the configuration classes these files come
// from.
int read_head_dim(ConfigReader& config, const DenseDefaults& defaults, int hidden_size, int heads) {
  const bool derive = config.contains("head_dim") || defaults.head_dim == 0;
  if (config.has("head_dim") || !derive) return config.size_or("head_dim", defaults.head_dim);
  if (hidden_size % heads != 0) {
    config.malformed("head_dim",
                     "is not given and num_attention_heads does not divide hidden_size");
  }
  return hidden_size / heads;
}

double read_rope_theta(ConfigReader& config, const DenseDefaults& defaults) {
  for (const std::string rope : {"rope_scaling", "rope_parameters"}) {
    for (const char* key : {".rope_type", ".type"}) {
      const std::string type = config.text_or(rope + key, "default");
      if (type != "default") config.unsupported(rope, "rope type '" + type + "'");
    }
  }
  if (!config.has("rope_scaling.rope_type") && !config.has("rope_scaling.type")) {
    config.refuse_values("rope_scaling", "scaled rotary embeddings");
  }
  if (config.has("rope_parameters") && !config.has("rope_parameters.rope_theta") &&
      !config.has("rope_theta")) {
    config.unsupported("rope_parameters", "no common rope_theta");
  }
  const double nested = config.positive_or("rope_parameters.rope_theta", defaults.rope_theta);
  return config.positive_or("rope_theta", nested);
}

void refuse_foreign_layers(ConfigReader& config) {
  const std::string activation = config.text_or("hidden_act", "silu");
  if (activation != "silu") config.unsupported("hidden_act", "'" + activation + "' is not silu");
  if (config.flag_or("use_sliding_window", false)) {
    config.unsupported("use_sliding_window", "sliding windows");
  }
  for (const std::string& type : config.text_list("layer_types")) {
    if (type == "full_attention") continue;
    config.unsupported("layer_types", "'" + type + "'");
    break;
  }
}

void check_heads(ConfigReader& config, const ArchSpec& arch, const LayerSpec& layer) {
  if (arch.heads % layer.kv_heads != 0) {
    config.malformed("num_key_value_heads", "must divide num_attention_heads");
  }
  if (layer.head_dim % 2 != 0) config.malformed("head_dim", "must be even");
  if (int64_t{arch.heads} * layer.head_dim > ConfigReader::kMaxSize) {
    config.malformed("num_attention_heads", "times head_dim is too large");
  }
}

}  // namespace

ArchSpec read_dense_config(ConfigReader& config, const DenseDefaults& defaults) {
  ArchSpec arch;
  LayerSpec layer;
  arch.vocab_size = config.size("vocab_size");
  arch.hidden_size = config.size("hidden_size");
  arch.heads = config.size("num_attention_heads");
  arch.max_positions = config.size("max_position_embeddings", kMaxPositions);
  const int layers = config.size("num_hidden_layers", kMaxLayers);
  layer.mlp_size = config.size("intermediate_size");
  layer.kv_heads = config.size_or("num_key_value_heads", arch.heads);
  layer.head_dim = read_head_dim(config, defaults, arch.hidden_size, arch.heads);
  layer.rope_theta = static_cast<float>(read_rope_theta(config, defaults));
  arch.norm_eps = static_cast<float>(config.positive_or("rms_norm_eps", defaults.norm_eps));
  arch.tied_embeddings = config.flag_or("tie_word_embeddings", false);
  arch.qkv_bias = config.flag_or("attention_bias", false);
  arch.output_bias = arch.qkv_bias;
  arch.checkpoint_dtype = config.dtype_or(DType::kBF16);
  refuse_foreign_layers(config);
  config.check();  // what follows compares values that must be sound
  check_heads(config, arch, layer);
  config.check();
  arch.layers.assign(static_cast<size_t>(layers), layer);
  arch.attention_scale = static_cast<float>(1 / std::sqrt(static_cast<double>(layer.head_dim)));
  return arch;
}

}  // namespace diffulex
