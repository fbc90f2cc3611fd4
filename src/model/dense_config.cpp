#include "model/dense_config.h"

#include <cmath>
#include <string>

namespace diffulex {
namespace {

constexpr int kMaxLayers = 4096;
constexpr int kMaxPositions = 1 << 30;

// Absent and null mean different things here, as in the configuration classes these files come
// from.
int read_head_dim(ConfigReader& config, const DenseDefaults& defaults, const DenseKeys& keys,
                  int hidden_size, int heads) {
  const bool derive = config.contains("head_dim") || defaults.head_dim == 0;
  if (config.has("head_dim") || !derive) return config.size_or("head_dim", defaults.head_dim);
  if (hidden_size % heads != 0) {
    config.malformed("head_dim", std::string("is not given and ") + keys.heads +
                                     " does not divide " + keys.hidden_size);
  }
  return hidden_size / heads;
}

int read_mlp_size(ConfigReader& config, const DenseDefaults& defaults, const DenseKeys& keys,
                  int hidden_size) {
  if (config.has(keys.mlp_size) || defaults.mlp_ratio == 0) return config.size(keys.mlp_size);
  const double size = defaults.mlp_ratio * hidden_size;
  if (size >= 1 && size <= ConfigReader::kMaxSize) return static_cast<int>(size);
  config.malformed(keys.mlp_size, "is not given and follows from no sound ratio");
  return 1;
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

void refuse_foreign_layers(ConfigReader& config, const DenseKeys& keys) {
  const std::string activation = config.text_or(keys.activation, "silu");
  if (activation != "silu") {
    config.unsupported(keys.activation, "'" + activation + "' is not silu");
  }
  config.refuse_flag("use_sliding_window", true, "sliding windows");
  for (const std::string& type : config.text_list("layer_types")) {
    if (type == "full_attention") continue;
    config.unsupported("layer_types", "'" + type + "'");
    break;
  }
}

void check_heads(ConfigReader& config, const DenseKeys& keys, const ArchSpec& arch,
                 const LayerSpec& layer) {
  if (arch.heads % layer.kv_heads != 0) {
    config.malformed(keys.kv_heads, std::string("must divide ") + keys.heads);
  }
  if (layer.head_dim % 2 != 0) config.malformed("head_dim", "must be even");
  if (int64_t{arch.heads} * layer.head_dim > ConfigReader::kMaxSize) {
    config.malformed(keys.heads, "times head_dim is too large");
  }
}

}  // namespace

ArchSpec read_dense_config(ConfigReader& config, const DenseDefaults& defaults,
                           const DenseKeys& keys) {
  ArchSpec arch;
  LayerSpec layer;
  arch.vocab_size = config.size("vocab_size");
  arch.hidden_size = config.size(keys.hidden_size);
  arch.heads = config.size(keys.heads);
  arch.max_positions = config.size(keys.positions, kMaxPositions);
  const int layers = config.size(keys.layers, kMaxLayers);
  layer.mlp_size = read_mlp_size(config, defaults, keys, arch.hidden_size);
  layer.kv_heads =
      config.size_or(keys.kv_heads, defaults.kv_heads > 0 ? defaults.kv_heads : arch.heads);
  layer.head_dim = read_head_dim(config, defaults, keys, arch.hidden_size, arch.heads);
  layer.rope_theta = static_cast<float>(read_rope_theta(config, defaults));
  arch.norm_eps = static_cast<float>(config.positive_or("rms_norm_eps", defaults.norm_eps));
  arch.tied_embeddings = config.flag_or(keys.tied, false);
  arch.qkv_bias = config.flag_or("attention_bias", false);
  arch.output_bias = arch.qkv_bias;
  arch.checkpoint_dtype = config.dtype_or(DType::kBF16);
  refuse_foreign_layers(config, keys);
  config.check();  // what follows compares values that must be sound
  check_heads(config, keys, arch, layer);
  config.check();
  arch.layers.assign(static_cast<size_t>(layers), layer);
  arch.attention_scale = static_cast<float>(1 / std::sqrt(static_cast<double>(layer.head_dim)));
  return arch;
}

}  // namespace diffulex
