#include "model/tensor_table.h"

namespace diffulex {
namespace {

// Appends the tensors of one layer.
class LayerTensors {
 public:
  LayerTensors(const ArchSpec& arch, int layer, LayerWeights* weights, TensorTable* table)
      : prefix_("model.layers." + std::to_string(layer) + "."),
        arch_(arch),
        spec_(arch.layers[layer]),
        hidden_(arch.hidden_size),
        q_size_(arch.q_size(layer)),
        kv_size_(arch.kv_size(layer)),
        weights_(*weights),
        table_(*table) {}

  void append() {
    add("input_layernorm.weight", {hidden_}, &weights_.input_norm);
    append_attention();
    add("post_attention_layernorm.weight", {hidden_}, &weights_.post_norm);
    add("mlp.gate_proj.weight", {spec_.mlp_size, hidden_}, &weights_.gate);
    add("mlp.up_proj.weight", {spec_.mlp_size, hidden_}, &weights_.up);
    add("mlp.down_proj.weight", {hidden_, spec_.mlp_size}, &weights_.down);
  }

 private:
  void append_attention() {
    add("self_attn.q_proj.weight", {q_size_, hidden_}, &weights_.q);
    add("self_attn.k_proj.weight", {kv_size_, hidden_}, &weights_.k);
    add("self_attn.v_proj.weight", {kv_size_, hidden_}, &weights_.v);
    if (arch_.qkv_bias) {
      add("self_attn.q_proj.bias", {q_size_}, &weights_.q_bias);
      add("self_attn.k_proj.bias", {kv_size_}, &weights_.k_bias);
      add("self_attn.v_proj.bias", {kv_size_}, &weights_.v_bias);
    }
    if (arch_.qk_norm) {
      add("self_attn.q_norm.weight", {spec_.head_dim}, &weights_.q_norm);
      add("self_attn.k_norm.weight", {spec_.head_dim}, &weights_.k_norm);
    }
    add("self_attn.o_proj.weight", {hidden_, q_size_}, &weights_.o);
    if (arch_.output_bias) add("self_attn.o_proj.bias", {hidden_}, &weights_.o_bias);
  }

  void add(const char* name, std::vector<int64_t> shape, WeightView* view) {
    table_.push_back({prefix_ + name, std::move(shape), view});
  }

  std::string prefix_;
  const ArchSpec& arch_;
  const LayerSpec& spec_;
  int64_t hidden_;
  int64_t q_size_;
  int64_t kv_size_;
  LayerWeights& weights_;
  TensorTable& table_;
};

}  // namespace

TensorTable llama_tensors(const ArchSpec& arch, ModelWeights* weights) {
  TensorTable table;
  weights->layers.resize(arch.layers.size());
  table.push_back(
      {"model.embed_tokens.weight", {arch.vocab_size, arch.hidden_size}, &weights->embedding});
  for (int layer = 0; layer < static_cast<int>(arch.layers.size()); ++layer) {
    LayerTensors(arch, layer, &weights->layers[layer], &table).append();
  }
  table.push_back({"model.norm.weight", {arch.hidden_size}, &weights->final_norm});
  table.push_back({"lm_head.weight", {arch.vocab_size, arch.hidden_size}, &weights->head});
  return table;
}

}  // namespace diffulex
