// Matrix products with prepacked weights, by oneDNN. A weight is cut into column tiles of a fixed width, whatever the number of
// threads, and each tile is computed by one thread: results do not depend on who computes them.
#pragma once

#include <cstdint>
#include <dnnl.hpp>
#include <functional>
#include <map>
#include <tuple>
#include <vector>

#include "backend/cpu/buffer.h"
#include "base/dtype.h"
#include "model/weights.h"

namespace diffulex::cpu {

inline constexpr int kMaxRows = 256;  // rows of one product; longer ones are cut

enum class Write : uint8_t { kStore, kAdd };  // dst = a b, or dst += a b

// A weight [n, k], packed tile by tile.
struct PackedMatrix {
  int n = 0;
  int k = 0;
  int tile_n = 0;                   // columns of a tile; the last may be narrower
  std::vector<dnnl::memory> tiles;  // each in oneDNN's own layout

  int tile_count() const { return static_cast<int>(tiles.size()); }
  int tile_width(int tile) const { return tile + 1 < tile_count() ? tile_n : n - tile * tile_n; }
};

// Rows [first, first + count) of a weight.
struct RowRange {
  const WeightView* view;
  int64_t first;
  int64_t count;
};

// pack() and prepare(): one thread. multiply(): members of a team, each with its own member number, after prepare().
class Matmul {
 public:
  Matmul(DType dtype, int members);

  DType dtype() const { return dtype_; }

  // A tile whose rows come from several weights (q, k and v; gate and up), stacked in order.
  void append_tile(PackedMatrix& matrix, const std::vector<RowRange>& rows);

  // Makes the product of `rows` rows with this tile shape ready. Cheap when it is already.
  void prepare(const PackedMatrix& matrix, int rows, int dst_stride, Write write);
  // dst[r * dst_stride + c] (=|+=) sum_k src[r * k + .] * tile[c * k + .] for r < rows, c < tile width. rows <= kMaxRows.
  // False when oneDNN failed.
  bool multiply(int member, const PackedMatrix& matrix, int tile, const void* src, int rows, float* dst, int dst_stride,
                Write write) const;

 private:
  struct Product {
    dnnl::matmul primitive;
    struct Arguments {
      dnnl::memory src, dst, scratchpad;
    };
    std::vector<Arguments> members;
  };
  using Key = std::tuple<int, int, int, int, Write>;  // rows, tile width, k, dst stride, write
  dnnl::matmul::primitive_desc describe(int rows, int n, int k, int dst_stride, Write write,
                                        const dnnl::memory::desc& weights) const;

  DType dtype_;
  dnnl::engine engine_;
  std::vector<dnnl::stream> streams_;             // [members]
  std::vector<Buffer<unsigned char>> scratch_;    // [members]
  size_t scratch_bytes_ = 0;
  std::map<Key, Product> products_;
};

}  // namespace diffulex::cpu
