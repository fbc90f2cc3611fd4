#include "backend/cpu/workspace.h"

#include <algorithm>
#include <cmath>

#include "backend/cpu/attention.h"
#include "backend/cpu/matmul.h"
#include "backend/cpu/model.h"

namespace diffulex::cpu {
namespace {

// cos and sin of position * theta^(-2 i / D), computed in double. [positions, D / 2]
void fill_rope(Buffer<float>& cosines, Buffer<float>& sines, size_t positions, int head_dim, double theta) {
  const size_t half = static_cast<size_t>(head_dim) / 2;
  for (size_t i = 0; i < half; ++i) {
    const double frequency = std::pow(theta, -2.0 * static_cast<double>(i) / head_dim);
    for (size_t p = 0; p < positions; ++p) {
      cosines[p * half + i] = static_cast<float>(std::cos(static_cast<double>(p) * frequency));
      sines[p * half + i] = static_cast<float>(std::sin(static_cast<double>(p) * frequency));
    }
  }
}

struct Widths {
  size_t act = 0, qkv = 0, kv = 0, mlp = 0, head = 0;  // the widest layer's
};

Widths widths_of(const ArchSpec& arch) {
  Widths w;
  w.act = static_cast<size_t>(arch.hidden_size);
  for (int i = 0; i < static_cast<int>(arch.layers.size()); ++i) {
    const auto q = static_cast<size_t>(arch.q_size(i)), kv = static_cast<size_t>(arch.kv_size(i));
    const LayerSpec& layer = arch.layers[static_cast<size_t>(i)];
    w.act = std::max(w.act, q);
    w.qkv = std::max(w.qkv, q + 2 * kv);
    w.kv = std::max(w.kv, kv);
    w.mlp = std::max(w.mlp, static_cast<size_t>(layer.mlp_size));
    w.head = std::max(w.head, static_cast<size_t>(layer.head_dim));
  }
  return w;
}

size_t cache_values(const ArchSpec& arch, const BackendConfig& config, int layer) {
  return static_cast<size_t>(config.kv_pages) * static_cast<size_t>(config.page_size) * 2 * static_cast<size_t>(arch.kv_size(layer));
}

size_t positions_of(const BackendConfig& config) {
  return static_cast<size_t>(config.max_pages_per_request) * static_cast<size_t>(config.page_size) +
         static_cast<size_t>(config.window_stride);
}

size_t vocabulary_tiles(const ArchSpec& arch) {
  return (static_cast<size_t>(arch.token_count) + decide::kTileIds - 1) / decide::kTileIds;
}

}  // namespace

Workspace::Workspace(const ArchSpec& arch, const BackendConfig& config) {
  const Widths w = widths_of(arch);
  const auto rows = static_cast<size_t>(config.max_tokens), heads = static_cast<size_t>(config.max_head_rows);
  const size_t act = size_of(config.weight_dtype), kv = size_of(config.kv_dtype);
  const auto members = static_cast<size_t>(config.threads), requests = static_cast<size_t>(config.max_requests);
  qkv_stride = static_cast<int>(w.qkv);
  x = Buffer<float>(rows * static_cast<size_t>(arch.hidden_size));
  a = Buffer<unsigned char>(rows * w.act * act);
  qkv = Buffer<float>(rows * w.qkv);
  k_new = Buffer<unsigned char>(rows * w.kv * kv);
  v_new = Buffer<unsigned char>(rows * w.kv * kv);
  mlp = Buffer<unsigned char>(rows * w.mlp * act);
  head_in = Buffer<unsigned char>(heads * static_cast<size_t>(arch.hidden_size) * act);
  for (size_t m = 0; m < members; ++m) {
    tile.emplace_back(static_cast<size_t>(kMaxRows) * std::max<size_t>(2 * kColumnTile, decide::kTileIds));
    attention.emplace_back(attention_scratch(static_cast<int>(w.head)));
    exps.emplace_back(decide::kTileIds);
  }
  for (int layer = 0; layer < static_cast<int>(arch.layers.size()); ++layer) cache.emplace_back(cache_values(arch, config, layer) * kv);
  tables = Buffer<int32_t>(requests * static_cast<size_t>(config.max_pages_per_request));
  cosines = Buffer<float>(positions_of(config) * (w.head / 2));
  sines = Buffer<float>(positions_of(config) * (w.head / 2));
  fill_rope(cosines, sines, positions_of(config), arch.layers.front().head_dim, arch.layers.front().rope_theta);
  partials = Buffer<decide::TilePartial>(static_cast<size_t>(kHeadRows) * vocabulary_tiles(arch));
  picks = Buffer<decide::Pick>(heads);
  windows = Buffer<decide::Window>(requests);
  window_tokens = Buffer<int32_t>(requests * static_cast<size_t>(config.window_stride));
  row_request = Buffer<int32_t>(rows);
  row_position = Buffer<int32_t>(rows);
  head_request = Buffer<int32_t>(heads);
}

uint64_t workspace_bytes(const ArchSpec& arch, const BackendConfig& config) {
  const Widths w = widths_of(arch);
  const auto rows = static_cast<uint64_t>(config.max_tokens), heads = static_cast<uint64_t>(config.max_head_rows);
  const auto requests = static_cast<uint64_t>(config.max_requests), h = static_cast<uint64_t>(arch.hidden_size);
  const uint64_t act = size_of(config.weight_dtype), kv = size_of(config.kv_dtype), f32 = sizeof(float);
  const uint64_t row = h * f32 + w.act * act + w.qkv * f32 + 2 * w.kv * kv + w.mlp * act + 2 * sizeof(int32_t);
  const uint64_t head = h * act + sizeof(decide::Pick) + sizeof(int32_t);
  const uint64_t member = (uint64_t{kMaxRows} * std::max<uint64_t>(2 * kColumnTile, decide::kTileIds) +
                           attention_scratch(static_cast<int>(w.head)) + decide::kTileIds) * f32;
  const uint64_t request = (static_cast<uint64_t>(config.max_pages_per_request) + static_cast<uint64_t>(config.window_stride)) *
                               sizeof(int32_t) + sizeof(decide::Window);
  return rows * row + heads * head + static_cast<uint64_t>(config.threads) * member + requests * request +
         positions_of(config) * (w.head / 2) * 2 * f32 + kHeadRows * vocabulary_tiles(arch) * sizeof(decide::TilePartial);
}

uint64_t Workspace::bytes() const {
  uint64_t bytes = x.bytes() + a.bytes() + qkv.bytes() + k_new.bytes() + v_new.bytes() + mlp.bytes() + head_in.bytes() +
                   tables.bytes() + cosines.bytes() + sines.bytes() + partials.bytes() + picks.bytes() + windows.bytes() +
                   window_tokens.bytes() + row_request.bytes() + row_position.bytes() + head_request.bytes();
  for (size_t m = 0; m < tile.size(); ++m) bytes += tile[m].bytes() + attention[m].bytes() + exps[m].bytes();
  return bytes;
}

}  // namespace diffulex::cpu
