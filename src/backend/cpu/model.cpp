#include "backend/cpu/model.h"

#include <algorithm>

#include "backend/cpu/convert.h"
#include "base/error.h"
#include "decide/select.h"

namespace diffulex::cpu {
namespace {

// Packs tensor by tensor and tells how far it is.
class Packer {
 public:
  Packer(const ArchSpec& arch, const ModelWeights& weights, Matmul& matmul, const LoadProgress& progress)
      : arch_(arch), weights_(weights), matmul_(matmul), progress_(progress), total_(packed_bytes(arch, matmul.dtype())) {}

  PackedModel pack() {
    PackedModel model;
    model.embedding = Buffer<unsigned char>(static_cast<size_t>(weights_.embedding.rows * weights_.embedding.cols) *
                                            size_of(matmul_.dtype()));
    const WeightView& e = weights_.embedding;
    convert(e.data, e.dtype, model.embedding.data(), matmul_.dtype(), static_cast<size_t>(e.rows * e.cols));
    advance(model.embedding.bytes(), e.name);
    model.layers.resize(arch_.layers.size());
    for (size_t i = 0; i < arch_.layers.size(); ++i) pack_layer(static_cast<int>(i), weights_.layers[i], model.layers[i]);
    model.final_norm = vector_of(weights_.final_norm);
    WeightView head = weights_.head;  // ids behind the tokenizer's last are never chosen, so their rows are not kept
    head.rows = std::min<int64_t>(head.rows, arch_.token_count);
    pack_rows(head, decide::kTileIds, model.head);
    return model;
  }

 private:
  void advance(uint64_t bytes, const std::string& name) {
    done_ = std::min(done_ + bytes, total_);
    if (progress_ && !progress_(done_, total_, name))
      throw Error(DIFFULEX_E_CANCELLED, "the progress callback cancelled the load");
  }

  Buffer<float> vector_of(const WeightView& view) {
    if (!view) return {};
    Buffer<float> out(static_cast<size_t>(view.rows));
    convert(view.data, view.dtype, out.data(), DType::kF32, out.size());
    return out;
  }

  void pack_rows(const WeightView& view, int64_t tile, PackedMatrix& matrix) {
    for (int64_t first = 0; first < view.rows; first += tile) {
      const int64_t count = std::min(tile, view.rows - first);
      matmul_.append_tile(matrix, {{&view, first, count}});
      advance(static_cast<uint64_t>(count * view.cols) * size_of(matmul_.dtype()), view.name);
    }
  }

  // q, k and v as one matrix; tiles may cross from one to the next.
  void pack_qkv(const LayerWeights& layer, PackedMatrix& matrix) {
    const WeightView* parts[] = {&layer.q, &layer.k, &layer.v};
    std::vector<RowRange> tile;
    int64_t width = 0;
    for (const WeightView* part : parts)
      for (int64_t first = 0; first < part->rows;) {
        const int64_t count = std::min(kColumnTile - width, part->rows - first);
        tile.push_back({part, first, count});
        width += count;
        first += count;
        const bool last = part == parts[2] && first == part->rows;
        if (width < kColumnTile && !last) continue;
        matmul_.append_tile(matrix, tile);
        advance(static_cast<uint64_t>(width * part->cols) * size_of(matmul_.dtype()), part->name);
        tile.clear();
        width = 0;
      }
  }

  void pack_gate_up(const LayerWeights& layer, PackedMatrix& matrix) {
    for (int64_t first = 0; first < layer.gate.rows; first += kColumnTile) {
      const int64_t count = std::min<int64_t>(kColumnTile, layer.gate.rows - first);
      matmul_.append_tile(matrix, {{&layer.gate, first, count}, {&layer.up, first, count}});
      advance(static_cast<uint64_t>(2 * count * layer.gate.cols) * size_of(matmul_.dtype()), layer.gate.name);
    }
  }

  Buffer<float> bias_of(const LayerWeights& layer, int index) {
    if (!layer.q_bias) return {};
    const auto q = static_cast<size_t>(arch_.q_size(index)), kv = static_cast<size_t>(arch_.kv_size(index));
    Buffer<float> out(q + 2 * kv);
    convert(layer.q_bias.data, layer.q_bias.dtype, out.data(), DType::kF32, q);
    convert(layer.k_bias.data, layer.k_bias.dtype, out.data() + q, DType::kF32, kv);
    convert(layer.v_bias.data, layer.v_bias.dtype, out.data() + q + kv, DType::kF32, kv);
    return out;
  }

  void pack_layer(int index, const LayerWeights& from, PackedLayer& to) {
    to.input_norm = vector_of(from.input_norm);
    to.qkv_bias = bias_of(from, index);
    to.q_norm = vector_of(from.q_norm);
    to.k_norm = vector_of(from.k_norm);
    to.output_bias = vector_of(from.o_bias);
    to.post_norm = vector_of(from.post_norm);
    pack_qkv(from, to.qkv);
    pack_rows(from.o, kColumnTile, to.output);
    pack_gate_up(from, to.gate_up);
    pack_rows(from.down, kColumnTile, to.down);
  }

  const ArchSpec& arch_;
  const ModelWeights& weights_;
  Matmul& matmul_;
  const LoadProgress& progress_;
  const uint64_t total_;
  uint64_t done_ = 0;
};

}  // namespace

PackedModel pack_model(const ArchSpec& arch, const ModelWeights& weights, Matmul& matmul, const LoadProgress& progress) {
  return Packer(arch, weights, matmul, progress).pack();
}

uint64_t packed_bytes(const ArchSpec& arch, DType dtype) {
  const auto h = static_cast<uint64_t>(arch.hidden_size);
  uint64_t values = (static_cast<uint64_t>(arch.vocab_size) + static_cast<uint64_t>(arch.token_count)) * h;
  for (int i = 0; i < static_cast<int>(arch.layers.size()); ++i) {
    const auto q = static_cast<uint64_t>(arch.q_size(i)), kv = static_cast<uint64_t>(arch.kv_size(i));
    values += h * (2 * q + 2 * kv) + 3 * h * static_cast<uint64_t>(arch.layers[static_cast<size_t>(i)].mlp_size);
  }
  return values * size_of(dtype);
}

}  // namespace diffulex::cpu
