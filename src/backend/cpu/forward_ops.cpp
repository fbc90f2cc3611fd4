#include "backend/cpu/forward_ops.h"

#include <algorithm>
#include <cstring>

namespace diffulex::cpu {

namespace {
constexpr int64_t kRowsPerClaim = 4;
}

template <class Fn>
void ForwardOps::for_rows(int64_t count, Fn&& fn) {
  for (int64_t i; (i = f_.team_.claim() * kRowsPerClaim) < count;)
    for (int64_t row = i; row < std::min(i + kRowsPerClaim, count); ++row) fn(row);
  f_.team_.barrier();
}

TiledRows ForwardOps::tiled(const Buffer& buffer, const PackedMatrix& w) const {
  return {buffer.as<float>(), w.rows(), w.tile(), f_.capacity_ * w.tile()};
}

TiledRows ForwardOps::residual() const { return tiled(f_.residual_, f_.model_.layers()[0].output); }

void ForwardOps::embed() {
  const TiledRows h = residual();
  for_rows(rows(),
           [&](int64_t row) { f_.model_.embed(step_.tokens[static_cast<size_t>(row)], h, row); });
}

void ForwardOps::norm(const float* bias, const float* weight) {
  const TiledRows h = residual();
  for_rows(rows(), [&](int64_t row) {
    norm_row(h, row, bias, weight, f_.arch_.norm_eps,
             f_.row_out(f_.normed_, row * f_.arch_.hidden_size));
  });
}

void ForwardOps::input_norm(int layer) {
  norm(nullptr, f_.model_.layers()[static_cast<size_t>(layer)].input_norm);
}

void ForwardOps::mlp_norm(int layer) {
  const PackedLayer& weights = f_.model_.layers()[static_cast<size_t>(layer)];
  norm(weights.output_bias, weights.post_norm);  // the bias of h += a Wo was left for here
}

// y (tiled f32) = x * transpose(w), in units of one tile and one chunk of rows; the chunks of a
// tile follow each other.
void ForwardOps::project(const PackedMatrix& w, const Buffer& x, const Buffer& y, bool accumulate) {
  const TiledRows out = tiled(y, w);
  const int64_t chunks = ceil_div(rows(), kRowChunk);
  const size_t row_bytes = static_cast<size_t>(w.cols()) * size_of(f_.config_.weight_dtype);
  for (int64_t i; (i = f_.team_.claim()) < w.tiles() * chunks;) {
    const int64_t t = i / chunks, first = i % chunks * kRowChunk;
    f_.matmul_.run(member_, w, t, chunk_rows(rows(), first), accumulate,
                   x.as() + static_cast<size_t>(first) * row_bytes, out.at(first, t * w.tile()));
  }
  f_.team_.barrier();
}

void ForwardOps::qkv(int layer) {
  project(f_.model_.layers()[static_cast<size_t>(layer)].qkv, f_.normed_, f_.qkv_, false);
}

void ForwardOps::attention_output(int layer) {
  project(f_.model_.layers()[static_cast<size_t>(layer)].output, f_.attended_, f_.residual_, true);
}

void ForwardOps::down(int layer) {
  project(f_.model_.layers()[static_cast<size_t>(layer)].down, f_.activated_, f_.residual_, true);
}

void ForwardOps::rope_and_store(int layer) {
  for_rows(rows(), [&](int64_t row) { rotate_row(layer, row); });
}

void ForwardOps::rotate_row(int layer, int64_t row) {
  const PackedLayer& weights = f_.model_.layers()[static_cast<size_t>(layer)];
  const KeyValues& kv = f_.layers_[static_cast<size_t>(layer)].kv;
  const TiledRows qkv = tiled(f_.qkv_, weights.qkv);
  const int dim = kv.dim, heads = f_.arch_.heads;
  const float eps = f_.arch_.norm_eps;
  const int32_t request = step_.row_request[static_cast<size_t>(row)];
  const AttentionRequest& r = step_.attention[static_cast<size_t>(request)];
  const int32_t in_request = static_cast<int32_t>(row - r.first_row),
                position = r.context_len + in_request;
  const float* const angles =
      f_.angles_[static_cast<size_t>(f_.layer_angles_[static_cast<size_t>(layer)])]
          .table.as<float>() +
      int64_t{position} * dim;
  const auto bias = [&](int head) {
    return weights.qkv_bias == nullptr ? nullptr : weights.qkv_bias + head * dim;
  };
  const auto out = [](DType dtype, void* base, size_t element) {
    if (dtype == DType::kBF16) return RowOut{nullptr, static_cast<uint16_t*>(base) + element};
    return RowOut{static_cast<float*>(base) + element, nullptr};
  };

  for (int head = 0; head < heads; ++head)
    rotate_head(qkv.at(row, head * dim), bias(head), weights.q_norm, eps, angles, dim,
                out(f_.attention_.query_dtype, f_.queries_.as(),
                    static_cast<size_t>((row * heads + head) * dim)));
  const bool stored = in_request < step_.requests[static_cast<size_t>(request)].store_len;
  const size_t head_bytes = static_cast<size_t>(dim) * size_of(kv.dtype);
  for (int head = 0; head < kv.kv_heads; ++head) {
    const size_t flight = kv.in_flight(row, head);
    const int k = heads + head, v = k + kv.kv_heads;
    rotate_head(qkv.at(row, k * dim), bias(k), weights.k_norm, eps, angles, dim,
                out(kv.dtype, kv.flight_keys, flight));
    rotate_head(qkv.at(row, v * dim), bias(v), nullptr, eps, nullptr, dim,
                out(kv.dtype, kv.flight_values, flight));
    if (!stored) continue;
    const size_t from = flight * size_of(kv.dtype);
    const size_t to = kv.in_page(r.pages[position / kv.page_size], head, position % kv.page_size) *
                      size_of(kv.dtype);
    std::memcpy(kv.page_keys + to, kv.flight_keys + from, head_bytes);
    std::memcpy(kv.page_values + to, kv.flight_values + from, head_bytes);
  }
}

void ForwardOps::attention(int layer) {
  const AttentionLayer& l = f_.layers_[static_cast<size_t>(layer)];
  const int64_t heads = l.kv.kv_heads, count = static_cast<int64_t>(step_.items.size()) * heads;
  for (int64_t i; (i = f_.team_.claim()) < count;) {
    const AttentionItem& item = step_.items[static_cast<size_t>(i / heads)];
    attend(f_.attention_, l, step_.attention[static_cast<size_t>(item.request)], item.first,
           item.count, static_cast<int>(i % heads), f_.scratch_[static_cast<size_t>(member_)]);
  }
  f_.team_.barrier();
}

// As project(), with the activation applied while a tile's gates and ups are in the cache.
void ForwardOps::gate_up(int layer) {
  const PackedMatrix& w = f_.model_.layers()[static_cast<size_t>(layer)].gate_up;
  const int64_t mlp = w.rows() / 2, chunks = ceil_div(rows(), kRowChunk);
  const size_t row_bytes = static_cast<size_t>(w.cols()) * size_of(f_.config_.weight_dtype);
  float* const scratch =
      f_.gates_.as<float>() +
      member_ * static_cast<int64_t>(f_.gates_.bytes() / sizeof(float)) / f_.team_.size();
  for (int64_t i; (i = f_.team_.claim()) < w.tiles() * chunks;) {
    const int64_t t = i / chunks, first = i % chunks * kRowChunk, half = w.width(t) / 2;
    f_.matmul_.run(member_, w, t, chunk_rows(rows(), first), false,
                   f_.normed_.as() + static_cast<size_t>(first) * row_bytes, scratch);
    for (int64_t r = 0; r < std::min(kRowChunk, rows() - first); ++r)
      swiglu_row(scratch + r * 2 * half, scratch + r * 2 * half + half, half,
                 f_.row_out(f_.activated_, (first + r) * mlp + t * w.tile() / 2));
  }
  f_.team_.barrier();
}

void ForwardOps::head_norm() {
  const TiledRows h = residual();
  for_rows(static_cast<int64_t>(step_.head_rows.size()), [&](int64_t i) {
    norm_row(h, step_.head_rows[static_cast<size_t>(i)], nullptr, f_.model_.final_norm(),
             f_.arch_.norm_eps, f_.row_out(f_.normed_, i * f_.arch_.hidden_size));
  });
}

void ForwardOps::select() {
  f_.head_.run(member_, f_.team_, f_.matmul_, f_.normed_.as(),
               static_cast<size_t>(f_.arch_.hidden_size) * size_of(f_.config_.weight_dtype),
               f_.picks_, f_.logits_);
}

}  // namespace diffulex::cpu
