#include "cuda/device_model.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "cuda/kernels/body.h"
#include "io/mapped_file.h"

namespace diffulex::cuda {
namespace {

constexpr size_t kAlignment = 256;
constexpr size_t kStage = size_t{16} << 20;  // bytes of a piece on its way

size_t aligned(size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

size_t matrix_bytes(int64_t rows, int64_t cols, DType dtype) {
  return aligned(static_cast<size_t>(rows * cols) * size_of(dtype));
}

size_t vector_bytes(const ArchSpec& arch, const LayerSpec& layer) {
  size_t bytes = 2 * aligned(static_cast<size_t>(arch.hidden_size) * sizeof(float));
  if (arch.qk_norm) bytes += 2 * aligned(static_cast<size_t>(layer.head_dim) * sizeof(float));
  const int64_t qkv = (arch.heads + 2 * layer.kv_heads) * int64_t{layer.head_dim};
  if (arch.qkv_bias) bytes += aligned(static_cast<size_t>(qkv) * sizeof(float));
  if (arch.output_bias) bytes += aligned(static_cast<size_t>(arch.hidden_size) * sizeof(float));
  if (arch.mlp_bias) {
    bytes += aligned(2 * static_cast<size_t>(layer.mlp_size) * sizeof(float)) +
             aligned(static_cast<size_t>(arch.hidden_size) * sizeof(float));
  }
  return bytes;
}

}  // namespace

uint64_t DeviceModel::planned_bytes(const ArchSpec& arch, DType dtype) {
  const int64_t hidden = arch.hidden_size;
  uint64_t bytes = matrix_bytes(arch.vocab_size, hidden, dtype) * (arch.tied_embeddings ? 1 : 2) +
                   aligned(static_cast<size_t>(hidden) * sizeof(float));
  for (const LayerSpec& layer : arch.layers) {
    const int64_t q = arch.heads * int64_t{layer.head_dim},
                  kv = layer.kv_heads * int64_t{layer.head_dim};
    bytes += matrix_bytes(q + 2 * kv, hidden, dtype) + matrix_bytes(hidden, q, dtype) +
             matrix_bytes(2 * int64_t{layer.mlp_size}, hidden, dtype) +
             matrix_bytes(hidden, layer.mlp_size, dtype) + vector_bytes(arch, layer);
  }
  return bytes;
}

// Hands out the model's memory and fills it: pieces go through two pinned buffers by turns, and are
// converted on the device where the file holds another type.
class DeviceModel::Uploader {
 public:
  Uploader(DeviceMemory& memory, DType dtype, uint64_t total, const LoadProgress& progress)
      : at_(memory.as()), dtype_(dtype), total_(total), progress_(progress) {
    check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "cudaStreamCreate");
    for (Stage& stage : stages_) {
      stage.pinned = PinnedMemory(kStage);
      stage.raw = DeviceMemory(kStage);
      check(cudaEventCreateWithFlags(&stage.free, cudaEventDisableTiming), "cudaEventCreate");
    }
  }
  ~Uploader() {
    if (stream_ != nullptr) (void)cudaStreamSynchronize(stream_);
    for (Stage& stage : stages_)
      if (stage.free != nullptr) (void)cudaEventDestroy(stage.free);
    if (stream_ != nullptr) (void)cudaStreamDestroy(stream_);
  }
  Uploader(const Uploader&) = delete;
  Uploader& operator=(const Uploader&) = delete;

  const void* matrix(std::initializer_list<const WeightView*> parts) {
    return place(parts, dtype_);
  }
  // Null when the model has none.
  const float* vector(std::initializer_list<const WeightView*> parts) {
    if (!**parts.begin()) return nullptr;
    return static_cast<const float*>(place(parts, DType::kF32));
  }
  void finish() { check(cudaStreamSynchronize(stream_), "the upload of weights"); }

 private:
  struct Stage {
    PinnedMemory pinned;
    DeviceMemory raw;
    cudaEvent_t free = nullptr;
  };

  const void* place(std::initializer_list<const WeightView*> parts, DType to) {
    std::byte* const begin = at_;
    for (const WeightView* part : parts) {
      upload(*part, at_, to);
      at_ += part->rows * part->cols * static_cast<int64_t>(size_of(to));
    }
    at_ = begin + aligned(static_cast<size_t>(at_ - begin));
    return begin;
  }

  void upload(const WeightView& view, std::byte* to, DType to_dtype) {
    const size_t from_size = size_of(view.dtype), to_size = size_of(to_dtype);
    const size_t elements = view.bytes() / from_size, piece = kStage / from_size;
    if (view.mapped) MappedFile::read_ahead(view.data, view.bytes());
    for (size_t first = 0; first < elements; first += piece) {
      const size_t n = std::min(piece, elements - first);
      Stage& stage = stages_[turn_++ % 2];
      check(cudaEventSynchronize(stage.free), "the upload of weights");
      const std::byte* const from = view.data + first * from_size;
      if (view.mapped) MappedFile::populate(from, n * from_size);
      std::memcpy(stage.pinned.as(), from, n * from_size);
      if (view.mapped) MappedFile::release(from, n * from_size);
      check(cudaMemcpyAsync(stage.raw.as(), stage.pinned.as(), n * from_size,
                            cudaMemcpyHostToDevice, stream_),
            "the upload of weights");
      check(launch_convert(stage.raw.as(), view.dtype, to + first * to_size, to_dtype,
                           static_cast<int64_t>(n), stream_),
            "the conversion of weights");
      check(cudaEventRecord(stage.free, stream_), "the upload of weights");
    }
    done_ += elements * to_size;
    if (progress_ && !progress_(std::min(done_, total_), total_, view.name))
      throw Error(DIFFULEX_E_CANCELLED, "the progress callback cancelled the load")
          .with("tensor", view.name);
  }

  std::byte* at_;
  const DType dtype_;
  const uint64_t total_;
  uint64_t done_ = 0;
  const LoadProgress& progress_;
  cudaStream_t stream_ = nullptr;
  Stage stages_[2];
  size_t turn_ = 0;
};

DeviceModel::DeviceModel(const ArchSpec& arch, const ModelWeights& weights, DType dtype,
                         const LoadProgress& progress)
    : memory_(planned_bytes(arch, dtype)) {
  Uploader up(memory_, dtype, memory_.bytes(), progress);
  embedding_ = up.matrix({&weights.embedding});
  for (const LayerWeights& w : weights.layers) {
    DeviceLayer layer;
    layer.input_norm = up.vector({&w.input_norm});
    layer.qkv = up.matrix({&w.q, &w.k, &w.v});
    layer.qkv_bias = up.vector({&w.q_bias, &w.k_bias, &w.v_bias});
    layer.q_norm = up.vector({&w.q_norm});
    layer.k_norm = up.vector({&w.k_norm});
    layer.output = up.matrix({&w.o});
    layer.output_bias = up.vector({&w.o_bias});
    layer.post_norm = up.vector({&w.post_norm});
    layer.gate_up = up.matrix({&w.gate, &w.up});
    layer.gate_up_bias = up.vector({&w.gate_bias, &w.up_bias});
    layer.down = up.matrix({&w.down});
    layer.down_bias = up.vector({&w.down_bias});
    layers_.push_back(layer);
  }
  final_norm_ = up.vector({&weights.final_norm});
  head_ = arch.tied_embeddings ? embedding_ : up.matrix({&weights.head});
  up.finish();
}

}  // namespace diffulex::cuda
