// Step plans, checkpoints and small random models for tests of the CPU backend.
#pragma once

#include <cstring>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/packed_matrix.h"
#include "oracle/safetensors.h"

namespace diffulex::testing {

// A plan and the memory it points into.
struct PlanBuilder {
  std::vector<RequestRow> rows;
  std::vector<int32_t> tokens, head_rows, pages;
  std::vector<decide::LogitAdjust> adjustments;
  flatbuffers::FlatBufferBuilder builder;

  // Adds a request whose heads are the rows [head_from, ids.size()). new_pages are appended at
  // table_offset.
  RequestRow& add(uint32_t slot, const std::vector<int32_t>& ids, int32_t context_len,
                  int32_t store_len, size_t head_from, const std::vector<int32_t>& new_pages = {},
                  uint32_t table_offset = 0) {
    RequestRow row{};
    row.slot = slot;
    row.first_token = static_cast<uint32_t>(tokens.size());
    row.token_count = static_cast<uint32_t>(ids.size());
    row.context_len = context_len;
    row.store_len = store_len;
    row.head_begin = static_cast<uint32_t>(head_rows.size());
    row.head_count = static_cast<uint32_t>(ids.size() - head_from);
    row.table_offset = table_offset;
    row.page_begin = static_cast<uint32_t>(pages.size());
    row.page_count = static_cast<uint32_t>(new_pages.size());
    row.window_offset = -1;
    row.attention = {decide::kBlockCausal, 8, 0, 0, 0};
    row.sampler = {0, 1, 0, 0, 0};
    row.blocks.mask_token = -1;
    for (size_t i = head_from; i < ids.size(); ++i)
      head_rows.push_back(static_cast<int32_t>(row.first_token + i));
    tokens.insert(tokens.end(), ids.begin(), ids.end());
    pages.insert(pages.end(), new_pages.begin(), new_pages.end());
    rows.push_back(row);
    return rows.back();
  }

  const wire::StepPlan& finish() {
    builder.Clear();
    const auto ints = [&](const std::vector<int32_t>& v) {
      builder.ForceVectorAlignment(v.size(), sizeof(int32_t), 16);
      return builder.CreateVector(v);
    };
    const auto t = ints(tokens), h = ints(head_rows), p = ints(pages);
    const size_t bytes = rows.size() * sizeof(RequestRow);
    builder.ForceVectorAlignment(bytes, 1, 16);
    const auto r = builder.CreateVector(reinterpret_cast<const uint8_t*>(rows.data()), bytes);
    const size_t adjust_bytes = adjustments.size() * sizeof(decide::LogitAdjust);
    builder.ForceVectorAlignment(adjust_bytes, 1, 16);
    const auto a =
        builder.CreateVector(reinterpret_cast<const uint8_t*>(adjustments.data()), adjust_bytes);
    builder.Finish(wire::CreateStepPlan(builder, 0, r, t, h, p, a));
    return *flatbuffers::GetRoot<wire::StepPlan>(builder.GetBufferPointer());
  }
};

inline std::vector<int32_t> iota(int32_t first, int32_t count) {
  std::vector<int32_t> v;
  for (int32_t i = 0; i < count; ++i) v.push_back(first + i);
  return v;
}

struct TestModel {
  ArchSpec arch;
  ModelWeights weights;
  std::map<std::string, diffulex_oracle::Tensor> tensors;

  WeightView view(const std::string& name) const {
    const diffulex_oracle::Tensor& t = tensors.at(name);
    return {reinterpret_cast<const std::byte*>(t.bytes.data()),
            t.dtype == "F32" ? DType::kF32 : DType::kBF16, t.shape[0],
            t.shape.size() > 1 ? t.shape[1] : 1, name};
  }

  void bind() {
    weights.embedding = view("model.embed_tokens.weight");
    weights.head = arch.tied_embeddings ? weights.embedding : view("lm_head.weight");
    weights.final_norm = view("model.norm.weight");
    weights.layers.resize(arch.layers.size());
    for (size_t n = 0; n < arch.layers.size(); ++n) {
      const std::string p = "model.layers." + std::to_string(n) + ".", a = p + "self_attn.";
      LayerWeights& l = weights.layers[n];
      l.input_norm = view(p + "input_layernorm.weight");
      l.post_norm = view(p + "post_attention_layernorm.weight");
      l.q = view(a + "q_proj.weight");
      l.k = view(a + "k_proj.weight");
      l.v = view(a + "v_proj.weight");
      l.o = view(a + "o_proj.weight");
      if (arch.qk_norm) {
        l.q_norm = view(a + "q_norm.weight");
        l.k_norm = view(a + "k_norm.weight");
      }
      if (arch.qkv_bias) {
        l.q_bias = view(a + "q_proj.bias");
        l.k_bias = view(a + "k_proj.bias");
        l.v_bias = view(a + "v_proj.bias");
      }
      if (arch.output_bias) l.o_bias = view(a + "o_proj.bias");
      l.gate = view(p + "mlp.gate_proj.weight");
      l.up = view(p + "mlp.up_proj.weight");
      l.down = view(p + "mlp.down_proj.weight");
    }
  }
};

inline std::unique_ptr<TestModel> load_tiny(const std::string& directory) {
  auto model = std::make_unique<TestModel>();
  model->tensors = diffulex_oracle::read_safetensors(directory + "/model.safetensors");
  ArchSpec& a = model->arch;
  a.family = "sdar";
  a.vocab_size = a.token_count = 1024;
  a.hidden_size = 256;
  a.heads = 4;
  a.layers.assign(6, {2, 64, 768, 0, 1e6f});
  a.attention_scale = 0.125f;
  a.qk_norm = true;
  a.block_size = 8;
  a.mask_token = 1023;
  model->bind();
  return model;
}

// A model of random weights that exercises what the arch asks for.
inline std::unique_ptr<TestModel> random_model(const ArchSpec& arch, uint64_t seed) {
  auto model = std::make_unique<TestModel>();
  model->arch = arch;
  std::mt19937_64 rng(seed);
  const auto make = [&](const std::string& name, std::vector<int64_t> shape, float around,
                        float spread) {
    std::normal_distribution<float> draw(around, spread);
    diffulex_oracle::Tensor t{"BF16", std::move(shape), {}};
    t.bytes.resize(static_cast<size_t>(t.size()) * 2);
    for (int64_t i = 0; i < t.size(); ++i) {
      const uint16_t h = cpu::to_bf16(draw(rng));
      std::memcpy(t.bytes.data() + i * 2, &h, 2);
    }
    model->tensors[name] = std::move(t);
  };
  const int64_t hidden = arch.hidden_size;
  const float scale = 1.0f / std::sqrt(static_cast<float>(hidden));
  make("model.embed_tokens.weight", {arch.vocab_size, hidden}, 0, 1);
  make("lm_head.weight", {arch.vocab_size, hidden}, 0, 2 * scale);
  make("model.norm.weight", {hidden}, 1, 0.2f);
  for (size_t n = 0; n < arch.layers.size(); ++n) {
    const LayerSpec& l = arch.layers[n];
    const std::string p = "model.layers." + std::to_string(n) + ".", s = p + "self_attn.";
    const int64_t q = arch.heads * l.head_dim, kv = l.kv_heads * l.head_dim;
    make(p + "input_layernorm.weight", {hidden}, 1, 0.2f);
    make(p + "post_attention_layernorm.weight", {hidden}, 1, 0.2f);
    for (const auto& [name, rows] : {std::pair{"q", q}, {"k", kv}, {"v", kv}}) {
      make(s + name + "_proj.weight", {rows, hidden}, 0, scale);
      make(s + name + "_proj.bias", {rows}, 0, 0.5f);
    }
    make(s + "q_norm.weight", {l.head_dim}, 1, 0.2f);
    make(s + "k_norm.weight", {l.head_dim}, 1, 0.2f);
    make(s + "o_proj.weight", {hidden, q}, 0, scale);
    make(s + "o_proj.bias", {hidden}, 0, 0.5f);
    make(p + "mlp.gate_proj.weight", {l.mlp_size, hidden}, 0, scale);
    make(p + "mlp.up_proj.weight", {l.mlp_size, hidden}, 0, scale);
    make(p + "mlp.down_proj.weight", {hidden, l.mlp_size}, 0, scale);
  }
  model->bind();
  return model;
}

inline BackendConfig small_config(DType dtype = DType::kF32, int threads = 1, int page_size = 8) {
  BackendConfig c;
  c.max_requests = 4;
  c.max_tokens = 300;
  c.max_head_rows = 300;
  c.page_size = page_size;
  c.max_pages_per_request = (256 + page_size - 1) / page_size;
  c.kv_pages = 4 * c.max_pages_per_request;
  c.window_stride = 32;
  c.weight_dtype = dtype;
  c.kv_dtype = dtype == DType::kI8 ? cpu::best_weight_dtype() : dtype;
  c.threads = threads;
  return c;
}

}  // namespace diffulex::testing
