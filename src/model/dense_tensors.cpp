#include <string_view>

#include "model/tensor_table.h"

namespace diffulex {
namespace {

// How checkpoints spell the same tensors. Names of layers follow the layer's prefix.
struct Names {
  const char *embedding, *layers, *final_norm, *head;
  const char *input_norm, *q, *k, *v, *o, *q_norm, *k_norm, *post_norm, *gate, *up, *down;
};

constexpr Names kLlama = {.embedding = "model.embed_tokens",
                          .layers = "model.layers.",
                          .final_norm = "model.norm",
                          .head = "lm_head",
                          .input_norm = "input_layernorm",
                          .q = "self_attn.q_proj",
                          .k = "self_attn.k_proj",
                          .v = "self_attn.v_proj",
                          .o = "self_attn.o_proj",
                          .q_norm = "self_attn.q_norm",
                          .k_norm = "self_attn.k_norm",
                          .post_norm = "post_attention_layernorm",
                          .gate = "mlp.gate_proj",
                          .up = "mlp.up_proj",
                          .down = "mlp.down_proj"};

// ff_proj is the activated one; the head shares its last name with the down projections.
constexpr Names kOlmo = {.embedding = "model.transformer.wte",
                         .layers = "model.transformer.blocks.",
                         .final_norm = "model.transformer.ln_f",
                         .head = "model.transformer.ff_out",
                         .input_norm = "attn_norm",
                         .q = "q_proj",
                         .k = "k_proj",
                         .v = "v_proj",
                         .o = "attn_out",
                         .q_norm = "q_norm",
                         .k_norm = "k_norm",
                         .post_norm = "ff_norm",
                         .gate = "ff_proj",
                         .up = "up_proj",
                         .down = "ff_out"};

// Appends the tensors of one layer.
class LayerTensors {
 public:
  LayerTensors(const Names& names, const ArchSpec& arch, int layer, LayerWeights* weights,
               TensorTable* table)
      : names_(names),
        prefix_(names.layers + std::to_string(layer) + "."),
        arch_(arch),
        spec_(arch.layers[static_cast<size_t>(layer)]),
        hidden_(arch.hidden_size),
        q_size_(arch.q_size(layer)),
        kv_size_(arch.kv_size(layer)),
        weights_(*weights),
        table_(*table) {}

  void append() {
    add_vector(names_.input_norm, ".weight", hidden_, &weights_.input_norm);
    append_attention();
    add_vector(names_.post_norm, ".weight", hidden_, &weights_.post_norm);
    append_mlp();
  }

 private:
  void append_attention() {
    add_matrix(names_.q, q_size_, hidden_, &weights_.q);
    add_matrix(names_.k, kv_size_, hidden_, &weights_.k);
    add_matrix(names_.v, kv_size_, hidden_, &weights_.v);
    if (arch_.qkv_bias) {
      add_vector(names_.q, ".bias", q_size_, &weights_.q_bias);
      add_vector(names_.k, ".bias", kv_size_, &weights_.k_bias);
      add_vector(names_.v, ".bias", kv_size_, &weights_.v_bias);
    }
    if (arch_.qk_norm) {
      add_vector(names_.q_norm, ".weight", spec_.head_dim, &weights_.q_norm);
      add_vector(names_.k_norm, ".weight", spec_.head_dim, &weights_.k_norm);
    }
    add_matrix(names_.o, hidden_, q_size_, &weights_.o);
    if (arch_.output_bias) add_vector(names_.o, ".bias", hidden_, &weights_.o_bias);
  }

  void append_mlp() {
    add_matrix(names_.gate, spec_.mlp_size, hidden_, &weights_.gate);
    add_matrix(names_.up, spec_.mlp_size, hidden_, &weights_.up);
    add_matrix(names_.down, hidden_, spec_.mlp_size, &weights_.down);
    if (!arch_.mlp_bias) return;
    add_vector(names_.gate, ".bias", spec_.mlp_size, &weights_.gate_bias);
    add_vector(names_.up, ".bias", spec_.mlp_size, &weights_.up_bias);
    add_vector(names_.down, ".bias", hidden_, &weights_.down_bias);
  }

  void add_matrix(const char* name, int64_t rows, int64_t cols, WeightView* view) {
    table_.push_back({prefix_ + name + ".weight", {rows, cols}, view});
  }
  void add_vector(const char* name, const char* kind, int64_t rows, WeightView* view) {
    table_.push_back({prefix_ + name + kind, {rows}, view});
  }

  const Names& names_;
  std::string prefix_;
  const ArchSpec& arch_;
  const LayerSpec& spec_;
  int64_t hidden_;
  int64_t q_size_;
  int64_t kv_size_;
  LayerWeights& weights_;
  TensorTable& table_;
};

TensorTable dense_tensors(const Names& names, const ArchSpec& arch, ModelWeights* weights) {
  TensorTable table;
  weights->layers.resize(arch.layers.size());
  const auto add = [&](const char* name, std::vector<int64_t> shape, WeightView* view) {
    table.push_back({std::string(name) + ".weight", std::move(shape), view});
  };
  const auto add_vocabulary = [&](const char* name, WeightView* view) {
    add(name, {arch.vocab_size, arch.hidden_size}, view);
    table.back().most_rows = arch.stored_rows;
  };
  add_vocabulary(names.embedding, &weights->embedding);
  for (size_t layer = 0; layer < arch.layers.size(); ++layer) {
    LayerTensors(names, arch, static_cast<int>(layer), &weights->layers[layer], &table).append();
  }
  add(names.final_norm, {arch.hidden_size}, &weights->final_norm);
  add_vocabulary(names.head, &weights->head);
  return table;
}

}  // namespace

TensorTable llama_tensors(const ArchSpec& arch, ModelWeights* weights) {
  return dense_tensors(kLlama, arch, weights);
}

TensorTable olmo_tensors(const ArchSpec& arch, ModelWeights* weights) {
  return dense_tensors(kOlmo, arch, weights);
}

}  // namespace diffulex
