// Writes checkpoints for tests: encoded tensors and whole tiny SDAR directories.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "base/dtype.h"
#include "safetensors_file.h"

namespace diffulex::testing {

inline uint16_t to_bf16(float value) {
  uint32_t bits = 0;
  std::memcpy(&bits, &value, sizeof(bits));
  return static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

// Finite values below 65504; what is too small becomes a subnormal or zero.
inline uint16_t to_f16(float value) {
  const uint16_t sign = std::signbit(value) ? 0x8000 : 0;
  int exponent = 0;
  const float fraction = std::frexp(std::fabs(value), &exponent);  // [0.5, 1)
  if (fraction == 0) return sign;
  if (exponent < -13) {
    return sign | static_cast<uint16_t>(std::nearbyint(std::ldexp(std::fabs(value), 24)));
  }
  const auto mantissa = static_cast<int>(std::nearbyint(std::ldexp(fraction, 11)));  // 1024..2048
  return sign | static_cast<uint16_t>(((exponent + 13) << 10) + mantissa);
}

inline std::string encode(const std::vector<float>& values, DType dtype) {
  std::string bytes;
  bytes.reserve(values.size() * size_of(dtype));
  for (const float value : values) {
    if (dtype == DType::kF32) {
      std::array<char, 4> raw{};
      std::memcpy(raw.data(), &value, raw.size());
      bytes.append(raw.data(), raw.size());
    } else {
      const uint16_t half = dtype == DType::kF16 ? to_f16(value) : to_bf16(value);
      bytes += static_cast<char>(half & 0xff);
      bytes += static_cast<char>(half >> 8);
    }
  }
  return bytes;
}

// A tiny SDAR model. NH*D differs from H, the tokenizer is smaller than the vocabulary, and
// config.json has no mask id unless asked for: all as real checkpoints may be.
struct TinySdar {
  int vocab_size = 512;
  int hidden_size = 96;
  int mlp_size = 128;
  int layers = 3;
  int heads = 4;
  int kv_heads = 1;
  int head_dim = 32;
  int block_size = 4;
  int max_positions = 512;
  bool attention_bias = false;
  bool tied = false;
  bool mask_in_config = false;
  DType dtype = DType::kBF16;
  int shards = 1;  // more than one: model-0000i-of-0000n.safetensors and an index
  uint32_t seed = 1;

  static constexpr int kTokens = 500;
  static constexpr int kMask = 499;
  static constexpr int kEos = 497;  // <|im_end|>
  static constexpr int kEndOfText = 496;

  nlohmann::json config() const {
    static const std::array<const char*, 3> names = {"float32", "float16", "bfloat16"};
    nlohmann::json config = {{"architectures", {"SDARForCausalLM"}},
                             {"model_type", "sdar"},
                             {"vocab_size", vocab_size},
                             {"hidden_size", hidden_size},
                             {"intermediate_size", mlp_size},
                             {"num_hidden_layers", layers},
                             {"num_attention_heads", heads},
                             {"num_key_value_heads", kv_heads},
                             {"head_dim", head_dim},
                             {"block_size", block_size},
                             {"max_position_embeddings", max_positions},
                             {"attention_bias", attention_bias},
                             {"tie_word_embeddings", tied},
                             {"hidden_act", "silu"},
                             {"rms_norm_eps", 1e-6},
                             {"rope_theta", 1000000.0},
                             {"rope_scaling", nullptr},
                             {"use_sliding_window", false},
                             {"bos_token_id", kEndOfText},
                             {"eos_token_id", kEndOfText},
                             {"torch_dtype", names[static_cast<size_t>(dtype)]}};
    if (mask_in_config) config["mask_token_id"] = kMask;
    return config;
  }

  std::vector<TestTensor> tensors() const {
    std::vector<TestTensor> all;
    std::mt19937 random(seed);
    add_matrix(&all, &random, "model.embed_tokens.weight", vocab_size, hidden_size);
    for (int layer = 0; layer < layers; ++layer) add_layer(&all, &random, layer);
    add_vector(&all, &random, "model.norm.weight", hidden_size, 1);
    if (!tied) add_matrix(&all, &random, "lm_head.weight", vocab_size, hidden_size);
    return all;
  }

  // Writes everything but a tokenizer.json: ids come from vocab.json and tokenizer_config.json.
  void write(const std::string& dir) const {
    write_config(dir);
    write_weights(dir, tensors());
  }

  void write_config(const std::string& dir) const {
    write_file(dir + "/config.json", config().dump(1));
    nlohmann::json vocabulary = nlohmann::json::object();
    for (int id = 0; id < kEndOfText; ++id) vocabulary["w" + std::to_string(id)] = id;
    write_file(dir + "/vocab.json", vocabulary.dump());
    write_file(dir + "/tokenizer_config.json", tokenizer_config().dump(1));
  }

  void write_weights(const std::string& dir, const std::vector<TestTensor>& all) const {
    if (shards <= 1) return write_file(dir + "/model.safetensors", safetensors_file(all));
    std::vector<std::vector<TestTensor>> parts(static_cast<size_t>(shards));
    nlohmann::json map;
    for (size_t i = 0; i < all.size(); ++i) {
      const size_t shard = i * parts.size() / all.size();
      parts[shard].push_back(all[i]);
      map[all[i].name] = shard_name(shard);
    }
    for (size_t i = 0; i < parts.size(); ++i) {
      write_file(dir + "/" + shard_name(i), safetensors_file(parts[i]));
    }
    write_file(dir + "/model.safetensors.index.json", nlohmann::json{{"weight_map", map}}.dump(1));
  }

  std::string shard_name(size_t shard) const {
    const auto digits = [](size_t value) {
      const std::string text = std::to_string(value);
      return std::string(5 - text.size(), '0') + text;
    };
    return "model-" + digits(shard + 1) + "-of-" + digits(static_cast<size_t>(shards)) +
           ".safetensors";
  }

  static nlohmann::json tokenizer_config() {
    const auto token = [](const char* text) {
      return nlohmann::json{{"content", text}, {"special", true}};
    };
    return {{"eos_token", "<|im_end|>"},
            {"mask_token", "<|MASK|>"},
            {"added_tokens_decoder",
             {{std::to_string(kEndOfText), token("<|endoftext|>")},
              {std::to_string(kEos), token("<|im_end|>")},
              {"498", token("<|im_start|>")},
              {std::to_string(kMask), token("<|MASK|>")}}}};
  }

 private:
  using Tensors = std::vector<TestTensor>;

  static const char* dtype_name(DType dtype) {
    return dtype == DType::kF32 ? "F32" : dtype == DType::kF16 ? "F16" : "BF16";
  }

  void add(Tensors* all, std::mt19937* random, const std::string& name, std::vector<int64_t> shape,
           float mean, float deviation) const {
    size_t count = 1;
    for (const int64_t extent : shape) count *= static_cast<size_t>(extent);
    std::normal_distribution<float> values(mean, deviation);
    std::vector<float> data(count);
    for (float& value : data) value = values(*random);
    all->push_back({name, dtype_name(dtype), std::move(shape), encode(data, dtype)});
  }

  void add_matrix(Tensors* all, std::mt19937* random, const std::string& name, int rows,
                  int cols) const {
    add(all, random, name, {rows, cols}, 0, 0.08F);
  }

  void add_vector(Tensors* all, std::mt19937* random, const std::string& name, int rows,
                  float mean) const {
    add(all, random, name, {rows}, mean, 0.1F);
  }

  void add_layer(Tensors* all, std::mt19937* random, int layer) const {
    const std::string prefix = "model.layers." + std::to_string(layer) + ".";
    const std::string attention = prefix + "self_attn.";
    const int q = heads * head_dim;
    const int kv = kv_heads * head_dim;
    add_vector(all, random, prefix + "input_layernorm.weight", hidden_size, 1);
    add_matrix(all, random, attention + "q_proj.weight", q, hidden_size);
    add_matrix(all, random, attention + "k_proj.weight", kv, hidden_size);
    add_matrix(all, random, attention + "v_proj.weight", kv, hidden_size);
    add_matrix(all, random, attention + "o_proj.weight", hidden_size, q);
    if (attention_bias) {
      add_vector(all, random, attention + "q_proj.bias", q, 0);
      add_vector(all, random, attention + "k_proj.bias", kv, 0);
      add_vector(all, random, attention + "v_proj.bias", kv, 0);
      add_vector(all, random, attention + "o_proj.bias", hidden_size, 0);
    }
    add_vector(all, random, attention + "q_norm.weight", head_dim, 1);
    add_vector(all, random, attention + "k_norm.weight", head_dim, 1);
    add_vector(all, random, prefix + "post_attention_layernorm.weight", hidden_size, 1);
    add_matrix(all, random, prefix + "mlp.gate_proj.weight", mlp_size, hidden_size);
    add_matrix(all, random, prefix + "mlp.up_proj.weight", mlp_size, hidden_size);
    add_matrix(all, random, prefix + "mlp.down_proj.weight", hidden_size, mlp_size);
  }
};

}  // namespace diffulex::testing
