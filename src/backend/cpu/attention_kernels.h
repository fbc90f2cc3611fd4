// The inner loop of attention: one tile of keys, for all query rows of a work item.
#pragma once

#include <cstdint>

#include "base/dtype.h"

namespace diffulex::cpu {

inline constexpr int kKeyTile = 64;  // keys of a tile
inline constexpr int kItemVectors =
    64;  // enough to pay for packing a tile, few enough for the caches
inline constexpr int kMaxHeadDim = 512;
inline constexpr float kNoMax = -1e30f;  // running maximum of a row that has seen no key

constexpr int padded_dim(int dim) { return (dim + 15) / 16 * 16; }

// A "vector" is one query row of one head; the vectors of a row (the heads that share the KV head)
// are neighbours. Matrices are dense.
struct AttentionTile {
  // Of the work item.
  int dim = 0;    // of a head
  int rows = 0;   // query rows
  int group = 1;  // vectors of a row
  DType kv_dtype = DType::kF32;
  float scale2 = 0;         // attention scale * log2(e): the softmax is computed in base 2
  void* queries = nullptr;  // [vectors, dim] in AttentionKernels::query_dtype
  float* out = nullptr;     // [vectors, padded_dim]: sum of weights * values
  float* max = nullptr;     // [vectors]: running maximum of the scaled scores, kNoMax at first
  float* sum = nullptr;     // [vectors]: sum of weights

  // Of the tile. Keys from `keys` on (a multiple of 16) are seen by no row.
  int keys = 0;
  const void* key_rows[kKeyTile] = {};    // dim elements each; null: seen by no row
  const void* value_rows[kKeyTile] = {};  // likewise
  uint64_t visible[kItemVectors] = {};    // one bit per key, for each query row

  // Scratch of the kernel.
  void* packed_keys = nullptr;    // 4 * kKeyTile * padded_dim bytes
  void* packed_values = nullptr;  // likewise
  float* scores = nullptr;        // [vectors, kKeyTile]
  void* weights = nullptr;        // [vectors, kKeyTile]
  float* decay = nullptr;         // [vectors]: what earlier sums shrink by
};

struct AttentionKernels {
  const char* name;
  DType query_dtype;
  // One step of the online softmax. A row that sees nothing of the tile keeps its state. What a row
  // gets depends neither on the other rows nor on `keys`.
  void (*add_tile)(const AttentionTile& tile);
};

// f32 arithmetic in the widest instruction set at hand.
const AttentionKernels& portable_attention();

// bf16 products with f32 sums, for bf16 caches; null where the processor has no such instruction.
const AttentionKernels* bf16_attention();

}  // namespace diffulex::cpu
