#include "backend/cpu/packed_model.h"

#include <algorithm>
#include <cstring>
#include <string>

#include "backend/cpu/head.h"
#include "backend/cpu/pack_rows.h"
#include "backend/cpu/read_ahead.h"
#include "base/error.h"
#include "io/mapped_file.h"

namespace diffulex::cpu {

namespace {

void check_shape(const WeightView& view, int64_t rows, int64_t cols) {
  if (view.data == nullptr)
    throw Error(DIFFULEX_E_MODEL_FORMAT, "a weight is missing").with("tensor", view.name);
  if (view.rows != rows || view.cols != cols)
    throw Error(DIFFULEX_E_MODEL_FORMAT, "a weight has the wrong shape").with("tensor", view.name);
}

// Reports progress in bytes of the checkpoint, and gives the pages of what is done back.
class Reporter {
 public:
  Reporter(const LoadProgress& progress, uint64_t total) : progress_(progress), total_(total) {}
  void done(const WeightView& view) {
    if (view.mapped) MappedFile::release(view.data, view.bytes());
    done_ += view.bytes();
    if (progress_ && !progress_(done_, total_, view.name))
      throw Error(DIFFULEX_E_CANCELLED, "the progress callback cancelled the load")
          .with("tensor", view.name);
  }

 private:
  const LoadProgress& progress_;
  uint64_t total_, done_ = 0;
};

int64_t vector_elements(const ArchSpec& arch) {
  int64_t sum = round_up(arch.hidden_size, 16);
  for (const LayerSpec& layer : arch.layers) {
    sum += 3 * round_up(arch.hidden_size, 16) + 2 * round_up(layer.head_dim, 16) +
           round_up(int64_t{arch.heads + 2 * layer.kv_heads} * layer.head_dim, 16);
    if (arch.mlp_bias) sum += round_up(arch.hidden_size, 16) + 2 * round_up(layer.mlp_size, 16);
  }
  return sum;
}

uint64_t checkpoint_bytes(const ModelWeights& weights, bool tied) {
  uint64_t sum =
      weights.final_norm.bytes() + weights.head.bytes() + (tied ? 0 : weights.embedding.bytes());
  for (const LayerWeights& l : weights.layers)
    for (const WeightView* v : {&l.input_norm, &l.q, &l.k, &l.v, &l.q_bias, &l.k_bias, &l.v_bias,
                                &l.q_norm, &l.k_norm, &l.o, &l.o_bias, &l.post_norm, &l.gate, &l.up,
                                &l.down, &l.gate_bias, &l.up_bias, &l.down_bias})
      if (*v) sum += v->bytes();
  return sum;
}

}  // namespace

uint64_t PackedModel::planned_bytes(const ArchSpec& arch, DType dtype) {
  const int64_t hidden = arch.hidden_size;
  uint64_t sum = packed_bytes(dtype, arch.vocab_size, hidden);
  if (has_embedding(arch.tied_embeddings, dtype))
    sum += packed_bytes(embedding_dtype(dtype), arch.vocab_size, hidden);
  for (const LayerSpec& layer : arch.layers) {
    const int64_t q = int64_t{arch.heads} * layer.head_dim,
                  kv = int64_t{layer.kv_heads} * layer.head_dim;
    sum += packed_bytes(dtype, 2 * q + 2 * kv, hidden) +
           3 * packed_bytes(dtype, layer.mlp_size, hidden);
  }
  return sum + static_cast<uint64_t>(vector_elements(arch)) * sizeof(float);
}

PackedModel::PackedModel(const ArchSpec& arch, const ModelWeights& weights, DType dtype,
                         const dnnl::engine& engine, Team& team, const LoadProgress& progress)
    : dtype_(dtype),
      hidden_(arch.hidden_size),
      vectors_(static_cast<size_t>(vector_elements(arch)) * sizeof(float)) {
  const int64_t hidden = arch.hidden_size;
  const bool tied = arch.tied_embeddings;
  Reporter reporter(progress, checkpoint_bytes(weights, tied));
  ReadAhead ahead(weights);
  if (weights.layers.size() != arch.layers.size())
    throw Error(DIFFULEX_E_MODEL_FORMAT, "the checkpoint has another number of layers");

  float* next_vector = vectors_.as<float>();
  const auto take_vector = [&](std::initializer_list<const WeightView*> parts,
                               std::initializer_list<int64_t> sizes) {
    float* const out = next_vector;
    int64_t at = 0;
    for (size_t p = 0; p < parts.size(); ++p) {
      const WeightView& view = *parts.begin()[p];
      check_shape(view, sizes.begin()[p], 1);
      for (int64_t i = 0; i < view.rows; ++i) out[at + i] = to_float(view.data, view.dtype, i);
      at += view.rows;
      reporter.done(view);
    }
    next_vector += round_up(at, 16);
    return out;
  };
  const auto pack = [&](PackedMatrix& matrix, int64_t tile,
                        const std::vector<WeightRows>& sources) {
    int64_t rows = 0;
    for (const WeightRows& s : sources) rows += s.count;
    const WeightView& first = *sources[0].view;
    ahead.advance(static_cast<size_t>(rows * first.cols) * size_of(first.dtype));
    matrix = PackedMatrix(engine, dtype, rows, first.cols, tile);
    team.run([&](int) {
      for (int64_t t; (t = team.claim()) < matrix.tiles();) matrix.pack_tile(t, sources);
    });
  };
  const auto whole = [](const WeightView& view) { return WeightRows{&view, 0, view.rows}; };

  layers_.resize(arch.layers.size());
  for (size_t n = 0; n < layers_.size(); ++n) {
    const LayerSpec& spec = arch.layers[n];
    const LayerWeights& from = weights.layers[n];
    PackedLayer& to = layers_[n];
    const int64_t dim = spec.head_dim, q = arch.heads * dim, kv = spec.kv_heads * dim,
                  mlp = spec.mlp_size;
    check_shape(from.q, q, hidden);
    check_shape(from.k, kv, hidden);
    check_shape(from.v, kv, hidden);
    check_shape(from.o, hidden, q);
    check_shape(from.gate, mlp, hidden);
    check_shape(from.up, mlp, hidden);
    check_shape(from.down, hidden, mlp);

    to.input_norm = take_vector({&from.input_norm}, {hidden});
    pack(to.qkv, qkv_tile(dim), {whole(from.q), whole(from.k), whole(from.v)});
    reporter.done(from.q);
    reporter.done(from.k);
    reporter.done(from.v);
    if (arch.qkv_bias)
      to.qkv_bias = take_vector({&from.q_bias, &from.k_bias, &from.v_bias}, {q, kv, kv});
    if (arch.qk_norm) {
      to.q_norm = take_vector({&from.q_norm}, {dim});
      to.k_norm = take_vector({&from.k_norm}, {dim});
    }
    pack(to.output, kTile, {whole(from.o)});
    reporter.done(from.o);
    if (arch.output_bias) to.output_bias = take_vector({&from.o_bias}, {hidden});
    to.post_norm = take_vector({&from.post_norm}, {hidden});

    std::vector<WeightRows> pairs;
    for (int64_t first = 0; first < mlp; first += kTile)
      for (const WeightView* view : {&from.gate, &from.up})
        pairs.push_back({view, first, std::min(kTile, mlp - first)});
    pack(to.gate_up, 2 * std::min(kTile, mlp), pairs);
    reporter.done(from.gate);
    reporter.done(from.up);
    pack(to.down, kTile, {whole(from.down)});
    reporter.done(from.down);
    if (arch.mlp_bias) {
      to.gate_bias = take_vector({&from.gate_bias}, {mlp});
      to.up_bias = take_vector({&from.up_bias}, {mlp});
      to.down_bias = take_vector({&from.down_bias}, {hidden});
    }
  }
  final_norm_ = take_vector({&weights.final_norm}, {hidden});
  check_shape(weights.head, arch.vocab_size, hidden);
  pack(head_, Head::kTile, {whole(weights.head)});
  reporter.done(weights.head);

  if (has_embedding(tied, dtype)) {
    const WeightView& view = weights.embedding;
    check_shape(view, arch.vocab_size, hidden);
    embedding_ = Buffer(packed_bytes(embedding_dtype(dtype), view.rows, hidden));
    ahead.advance(view.bytes());
    team.run([&](int) {
      for (int64_t first; (first = team.claim() * kTile) < view.rows;) copy_embedding(view, first);
    });
    if (!tied) reporter.done(view);
  }
}

// Rows [first, first + kTile), as many as there are.
void PackedModel::copy_embedding(const WeightView& view, int64_t first) {
  const int64_t begin = first * hidden_, count = std::min(kTile, view.rows - first) * hidden_;
  const std::byte* const from = view.data + static_cast<size_t>(begin) * size_of(view.dtype);
  const size_t bytes = static_cast<size_t>(count) * size_of(view.dtype);
  if (view.mapped) MappedFile::populate(from, bytes);
  const DType dtype = embedding_dtype(dtype_);
  convert_elements(from, view.dtype, count, dtype,
                   embedding_.as() + static_cast<size_t>(begin) * size_of(dtype));
  if (view.mapped) MappedFile::release(from, bytes);
}

uint64_t PackedModel::bytes() const {
  uint64_t sum = vectors_.bytes() + embedding_.bytes() + head_.bytes();
  for (const PackedLayer& l : layers_)
    sum += l.qkv.bytes() + l.output.bytes() + l.gate_up.bytes() + l.down.bytes();
  return sum;
}

void PackedModel::embed(int32_t token, const TiledRows& out, int64_t row) const {
  for (int64_t n = 0; n < hidden_; n += out.tile) {
    float* const to = out.at(row, n);
    const int64_t width = out.width(n), from = int64_t{token} * hidden_ + n;
    if (embedding_.bytes() == 0)
      head_.read_row(token, n, width, to);
    else if (embedding_dtype(dtype_) == DType::kBF16)
      widen_row(embedding_.as<uint16_t>() + from, width, to);
    else
      std::copy_n(embedding_.as<float>() + from, width, to);
  }
}

}  // namespace diffulex::cpu
