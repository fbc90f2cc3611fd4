// Matrix products of activation rows with one tile of a PackedMatrix, one thread each: oneDNN's, or
// int8 kernels of our own.
#pragma once

#include <atomic>
#include <dnnl.hpp>
#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "backend/cpu/int8_kernels.h"
#include "backend/cpu/packed_matrix.h"

namespace diffulex::cpu {

// Rows go through a product in chunks of kRowChunk; what is left over is rounded up to kRowBucket,
// so buffers hold a multiple of kRowBucket rows. The rows behind the last one are computed and
// never read.
inline constexpr int64_t kRowBucket = 8;
inline constexpr int64_t kRowChunk = 128;

inline int64_t chunk_rows(int64_t rows,
                          int64_t first) {  // rows of the chunk that begins at `first`, rounded
  return std::min(kRowChunk, round_up(rows - first, kRowBucket));
}

// Bytes of a row of `cols` activations that is multiplied with weights of this type: dense elements
// of that type, or what begins with an Int8RowHead.
constexpr size_t input_row_bytes(DType weights, int64_t cols) {
  return weights == DType::kI8 ? int8_row_bytes(cols)
                               : static_cast<size_t>(cols) * size_of(weights);
}

// Thread class: prepare() by the owner while no member runs; run() by any member, each with its own
// number.
class Matmul {
 public:
  Matmul(DType dtype, int members);

  const dnnl::engine& engine() const { return engine_; }
  std::string name() const;  // e.g. "oneDNN 2.6.3 bf16"

  // Makes what run() needs for products of `rows` rows with w. Cheap when it exists.
  void prepare(const PackedMatrix& w, int64_t rows, bool accumulate);

  // y [rounded rows, width(t)] dense f32 = (accumulate ? y : 0) + x [rounded rows, cols] *
  // transpose(tile t). rows: the chunk's, rounded. x: rows of input_row_bytes(). prepare() must
  // have covered it.
  void run(int member, const PackedMatrix& w, int64_t t, int64_t rows, bool accumulate,
           const void* x, float* y);

  // True when a product has failed since the last call.
  bool take_failure() { return failed_.exchange(false); }
  uint64_t scratch_bytes() const;

 private:
  using Key = std::tuple<int64_t, int64_t, int64_t, bool>;  // rows, width, cols, accumulate
  struct Member {
    dnnl::memory x, y, scratch;
  };
  struct Kernel {
    dnnl::matmul primitive;
    std::vector<Member> members;
  };
  void prepare_tile(const PackedMatrix& w, bool last, int64_t rows, bool accumulate);
  void run_int8(const PackedMatrix& w, int64_t t, int64_t rows, bool accumulate, const void* x,
                float* y) const;

  DType dtype_;
  const Int8Kernels& int8_ = best_int8();
  dnnl::engine engine_;
  std::vector<dnnl::stream> streams_;  // one per member
  std::vector<Buffer> scratch_;        // one per member, as large as the hungriest kernel's
  std::map<Key, Kernel> kernels_;
  std::atomic<bool> failed_{false};
};

}  // namespace diffulex::cpu
