// What a transformer body needs to know of a checkpoint, whatever its family. One family file
// (sdar.cpp, ...) turns config.json into an ArchSpec; the bodies of all backends read nothing else.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/dtype.h"

namespace diffulex {

inline constexpr int kMaxBlockSize = 256;  // as far as the engine option of that name goes

// Per-layer facts. Kept per layer because later families differ between layers (sliding windows,
// head sizes).
struct LayerSpec {
  int kv_heads = 0;
  int head_dim = 0;
  int mlp_size = 0;        // rows of gate_proj
  int sliding_window = 0;  // keys with a - k >= sliding_window are hidden; 0 = off
  float rope_theta = 1e6f;
};

// How a family is decoded unless options say otherwise. Thresholds: see the options of the
// strategies.
struct Decoding {
  std::string_view strategy = "multi_bd";  // of static storage, ends with NUL
  int buffer_blocks = 1;
  float accept_threshold = 0.9f;
  double add_block_threshold = 0.1;
  double semi_complete_threshold = 0.9;
  double token_stability_threshold = 0;
  bool shift = false;         // the row of position p - 1 predicts position p
  bool force_always = false;  // a block accepts its best token even behind an unfinished block
};

struct ArchSpec {
  std::string family;        // "sdar"
  std::string architecture;  // architectures[0] of config.json
  int vocab_size = 0;        // rows of the head; ids >= token_count are never sampled
  int stored_rows = 0;       // of embedding and head in the file, at most, those behind vocab_size
                             // being spare; 0: vocab_size
  int token_count = 0;  // ids the tokenizer knows; = vocab_size when no tokenizer says otherwise
  int hidden_size = 0;
  int heads = 0;  // query heads, the same in all layers
  std::vector<LayerSpec> layers;
  float norm_eps = 1e-6f;
  float attention_scale = 0;  // multiplies q.k
  bool tied_embeddings = false;
  bool qkv_bias = false;
  bool output_bias = false;  // bias of o_proj
  bool mlp_bias = false;     // biases of gate_proj, up_proj and down_proj
  bool qk_norm = false;
  int max_positions = 0;  // max_position_embeddings
  DType checkpoint_dtype = DType::kBF16;

  // Diffusion facts.
  int block_size = 4;  // B the checkpoint was trained with
  int mask_token = -1;
  std::vector<int32_t>
      eos_tokens;  // union of every source, first = the tokenizer's or config's own
  int bos_token = -1;
  int pad_token = -1;
  Decoding decoding;

  int q_size(int layer) const { return heads * layers[layer].head_dim; }
  int kv_size(int layer) const { return layers[layer].kv_heads * layers[layer].head_dim; }
};

}  // namespace diffulex
