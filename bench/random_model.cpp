#include "random_model.h"

#include <algorithm>
#include <cmath>

namespace diffulex_bench {
namespace {

using namespace diffulex;

constexpr ModelShape kShapes[] = {{"0.6b", 1024, 28, 16, 8, 128, 3072, 32000},
                                  {"1.7b", 2048, 28, 16, 8, 128, 6144, 151936},
                                  {"8b", 4096, 36, 32, 8, 128, 12288, 151936}};

ArchSpec arch_of(const ModelShape& s) {
  ArchSpec arch;
  arch.family = "sdar";
  arch.vocab_size = arch.token_count = s.vocabulary;
  arch.hidden_size = s.hidden;
  arch.heads = s.heads;
  arch.layers.assign(static_cast<size_t>(s.layers), {s.kv_heads, s.dim, s.mlp, 0, 1e6f});
  arch.attention_scale = 1.0f / std::sqrt(static_cast<float>(s.dim));
  arch.qk_norm = true;
  arch.tied_embeddings = true;
  arch.mask_token = s.vocabulary - 1;
  return arch;
}

}  // namespace

size_t ModelShape::largest_matrix() const {
  return static_cast<size_t>(std::max(vocabulary, mlp)) * static_cast<size_t>(hidden);
}

double ModelShape::body_weights() const {
  return double(layers) * hidden * (2 * query_size() + 2 * kv_size() + 3 * mlp);
}

double ModelShape::head_weights() const { return double(vocabulary) * hidden; }

const ModelShape* find_shape(std::string_view name) {
  for (const ModelShape& shape : kShapes)
    if (name == shape.name) return &shape;
  return nullptr;
}

std::vector<uint16_t> random_bf16(size_t count) {
  std::vector<uint16_t> numbers(count);
  uint64_t state = 1;
  for (uint16_t& x : numbers) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    x = static_cast<uint16_t>((state >> 63 << 15) | (0x3C00 + (state >> 40 & 0xFF)));
  }
  return numbers;
}

RandomModel::RandomModel(const ModelShape& s, std::span<const uint16_t> numbers)
    : arch(arch_of(s)) {
  const auto view = [&](int64_t rows, int64_t cols) {
    return WeightView{reinterpret_cast<const std::byte*>(numbers.data()), DType::kBF16, rows, cols,
                      "random"};
  };
  LayerWeights layer;
  layer.input_norm = layer.post_norm = view(s.hidden, 1);
  layer.q_norm = layer.k_norm = view(s.dim, 1);
  layer.q = view(s.query_size(), s.hidden);
  layer.k = layer.v = view(s.kv_size(), s.hidden);
  layer.o = view(s.hidden, s.query_size());
  layer.gate = layer.up = view(s.mlp, s.hidden);
  layer.down = view(s.hidden, s.mlp);
  weights.layers.assign(static_cast<size_t>(s.layers), layer);
  weights.embedding = weights.head = view(s.vocabulary, s.hidden);
  weights.final_norm = view(s.hidden, 1);
}

}  // namespace diffulex_bench
