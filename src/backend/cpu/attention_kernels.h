// The inner loops of attention over one tile of keys, as a table of functions per instruction set.
#pragma once

#include <cstdint>

#include "base/dtype.h"

namespace diffulex::cpu {

inline constexpr int kKeyTile = 64;  // keys of a tile
inline constexpr int kMaxHeadDim = 512;
inline constexpr float kNoMax = -1e30f;  // running maximum of a row that has seen no key

constexpr int padded_dim(int dim) { return (dim + 15) / 16 * 16; }

// A "vector" below is one query row of one head. The vectors of a group (the heads that share a KV
// head) of one query row are neighbours. Matrices are dense; columns of `out` and of packed values
// are padded to padded_dim(dim).
struct AttentionKernels {
  const char* name;
  DType query_dtype;  // of queries; packed tiles and weights use the same, in an order of the
                      // kernel's own

  // Packs a tile for the two products. rows[kKeyTile]: a key's (value's) dim elements, null: zeros.
  void (*pack_keys)(const void* const* rows, DType dtype, int dim, void* tile);
  void (*pack_values)(const void* const* rows, DType dtype, int dim, void* tile);

  // scores[vectors, kKeyTile] = queries . keys
  void (*score)(const void* queries, const void* keys, int vectors, int dim, float* scores);

  // One step of the online softmax, in base 2: scale2 = attention scale * log2(e). visible: one bit
  // per key for each query row; vectors = rows * group. weights = exp2(scores * scale2 - new
  // maximum), sum and max are updated, decay is what earlier sums shrink by. Rows that see nothing
  // of the tile keep their state, with weights 0 and decay 1.
  void (*soften)(float* scores, const uint64_t* visible, int rows, int group, float scale2,
                 void* weights, float* max, float* sum, float* decay);

  // out[vectors, padded dim] = out * decay + weights . values
  void (*accumulate)(const void* weights, const void* values, const float* decay, int vectors,
                     int dim, float* out);
};

// f32 arithmetic in the widest instruction set at hand.
const AttentionKernels& portable_attention();

// bf16 products with f32 sums, for bf16 caches; null where the processor has no such instruction.
const AttentionKernels* bf16_attention();

}  // namespace diffulex::cpu
