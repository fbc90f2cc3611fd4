// Everything a step needs beside weights: activations, caches, tables. Sized once, for the largest step.
#pragma once

#include <vector>

#include "backend/backend.h"
#include "backend/cpu/buffer.h"
#include "decide/select.h"

namespace diffulex::cpu {

inline constexpr int kHeadRows = 256;       // head rows reduced together
inline constexpr int kMaxCandidates = 1024;  // kept per row for top-k and top-p

// T: rows of a step; H: hidden size; A: act type (the weights'); KV: cache type.
struct Workspace {
  Workspace(const ArchSpec& arch, const BackendConfig& config);
  uint64_t bytes() const;

  int qkv_stride = 0;               // floats of a row of qkv: the widest layer
  Buffer<float> x;                  // [T, H] residual stream
  Buffer<unsigned char> a;          // [T, max(H, NH D)] A: input of a projection
  Buffer<float> qkv;                // [T, qkv_stride]
  Buffer<unsigned char> k_new;      // [T, NKV D] KV: keys of this forward
  Buffer<unsigned char> v_new;      // [T, NKV D] KV
  Buffer<unsigned char> mlp;        // [T, I] A
  Buffer<unsigned char> head_in;    // [head rows, H] A
  std::vector<Buffer<float>> tile;      // [members][kMaxRows * widest tile]: a tile's product before it is used
  std::vector<Buffer<float>> attention;  // [members]: see attention_scratch
  std::vector<Buffer<float>> exps;       // [members][kTileIds]

  // The cache. Layer l holds [pages][2][NKV][page_size][D]: keys, then values.
  std::vector<Buffer<unsigned char>> cache;
  Buffer<int32_t> tables;           // [max_requests, max_pages_per_request] resident page tables
  Buffer<float> cosines, sines;     // [positions, D / 2]

  Buffer<decide::TilePartial> partials;  // [kHeadRows, tiles of the vocabulary]
  Buffer<decide::Pick> picks;            // [max_head_rows]
  Buffer<decide::Window> windows;        // [max_requests]
  Buffer<int32_t> window_tokens;         // [max_requests, window_stride]

  // Of the step's rows.
  Buffer<int32_t> row_request;      // [T] which RequestRow
  Buffer<int32_t> row_position;     // [T] absolute
  Buffer<int32_t> head_request;     // [max_head_rows]
};

// What Workspace::bytes() will be, without making one.
uint64_t workspace_bytes(const ArchSpec& arch, const BackendConfig& config);

}  // namespace diffulex::cpu
