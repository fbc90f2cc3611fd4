// A checkpoint of one small layer, to be broken in one place at a time.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "errors_engine.h"
#include "safetensors_file.h"

namespace diffulex_tests::errors {

using diffulex::testing::read_file;
using diffulex::testing::safetensors_file;
using diffulex::testing::safetensors_header;
using diffulex::testing::TempDir;
using diffulex::testing::TestTensor;
using diffulex::testing::write_file;

constexpr const char* kConfig = "config.json";
constexpr const char* kWeights = "model.safetensors";
constexpr const char* kIndex = "model.safetensors.index.json";

// Sound as it is made; weights are zero. It has no tokenizer.
class TinyCheckpoint {
 public:
  nlohmann::json config = {{"architectures", {"SDARForCausalLM"}},
                           {"model_type", "sdar"},
                           {"vocab_size", 64},
                           {"hidden_size", 64},
                           {"intermediate_size", 64},
                           {"num_hidden_layers", 1},
                           {"num_attention_heads", 2},
                           {"num_key_value_heads", 2},
                           {"head_dim", 32},
                           {"block_size", 4},
                           {"max_position_embeddings", 128},
                           {"tie_word_embeddings", false},
                           {"hidden_act", "silu"},
                           {"rms_norm_eps", 1e-6},
                           {"rope_theta", 1000000.0},
                           {"mask_token_id", 63},
                           {"eos_token_id", 62},
                           {"torch_dtype", "float32"}};
  std::vector<TestTensor> tensors = {zeros("model.embed_tokens.weight", {64, 64}),
                                     zeros("model.layers.0.input_layernorm.weight", {64}),
                                     zeros("model.layers.0.self_attn.q_proj.weight", {64, 64}),
                                     zeros("model.layers.0.self_attn.k_proj.weight", {64, 64}),
                                     zeros("model.layers.0.self_attn.v_proj.weight", {64, 64}),
                                     zeros("model.layers.0.self_attn.o_proj.weight", {64, 64}),
                                     zeros("model.layers.0.self_attn.q_norm.weight", {32}),
                                     zeros("model.layers.0.self_attn.k_norm.weight", {32}),
                                     zeros("model.layers.0.post_attention_layernorm.weight", {64}),
                                     zeros("model.layers.0.mlp.gate_proj.weight", {64, 64}),
                                     zeros("model.layers.0.mlp.up_proj.weight", {64, 64}),
                                     zeros("model.layers.0.mlp.down_proj.weight", {64, 64}),
                                     zeros("model.norm.weight", {64}),
                                     zeros("lm_head.weight", {64, 64})};

  static TestTensor zeros(const std::string& name, std::vector<int64_t> shape) {
    size_t count = 1;
    for (const int64_t extent : shape) count *= static_cast<size_t>(extent);
    return {name, "F32", std::move(shape), std::string(count * sizeof(float), '\0')};
  }

  TestTensor& tensor(const std::string& name) {
    for (TestTensor& tensor : tensors)
      if (tensor.name == name) return tensor;
    throw std::runtime_error("no tensor " + name);
  }

  void write(const std::string& dir) const {
    write_file(dir + "/" + kConfig, config.dump());
    write_file(dir + "/" + kWeights, safetensors_file(tensors));
  }
};

// The sound checkpoint in a directory that `damage` may change.
template <class Damage>
Outcomes damaged_fails(const std::string& culprit, Damage&& damage) {
  const TempDir dir;
  TinyCheckpoint().write(dir.path());
  damage(dir);
  return {create_fails(dir.path(), culprit)};
}

// With one file, which is the culprit, of another content.
inline Outcomes file_fails(const std::string& name, const std::string& content) {
  return damaged_fails(name, [&](const TempDir& dir) { write_file(dir / name, content); });
}

}  // namespace diffulex_tests::errors
