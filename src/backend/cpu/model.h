// A model as the CPU backend keeps it: packed matrices, vectors in f32, the embedding table.
#pragma once

#include <vector>

#include "backend/backend.h"
#include "backend/cpu/buffer.h"
#include "backend/cpu/matmul.h"
#include "model/arch.h"
#include "model/weights.h"

namespace diffulex::cpu {

struct PackedLayer {
  Buffer<float> input_norm;       // [H]
  PackedMatrix qkv;               // [(NH + 2 NKV) D, H]
  Buffer<float> qkv_bias;         // [(NH + 2 NKV) D] or empty
  Buffer<float> q_norm, k_norm;   // [D] or empty
  PackedMatrix output;            // [H, NH D]
  Buffer<float> output_bias;      // [H] or empty
  Buffer<float> post_norm;        // [H]
  PackedMatrix gate_up;           // tiles of [gate rows of the tile; up rows of the tile], each mlp_tile(layer) wide
  PackedMatrix down;              // [H, I]
};

struct PackedModel {
  Buffer<unsigned char> embedding;  // [V, H] in weight type
  std::vector<PackedLayer> layers;
  Buffer<float> final_norm;         // [H]
  PackedMatrix head;                // [token_count, H] in tiles of decide::kTileIds
};

inline constexpr int kColumnTile = 256;  // output features of a tile: enough tiles for many threads, wide enough for oneDNN

// Packs everything. Throws Error(DIFFULEX_E_CANCELLED) when progress says so.
PackedModel pack_model(const ArchSpec& arch, const ModelWeights& weights, Matmul& matmul, const LoadProgress& progress);

// Bytes that pack_model will keep.
uint64_t packed_bytes(const ArchSpec& arch, DType dtype);

}  // namespace diffulex::cpu
