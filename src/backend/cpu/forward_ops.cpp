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
  for_rows(rows(), [&](int64_t row) { norm_row_to(h, row, bias, weight, f_.normed_, row); });
}

// Into row `index` of out, as products read it.
void ForwardOps::norm_row_to(const TiledRows& h, int64_t row, const float* bias,
                             const float* weight, const Buffer& out, int64_t index) {
  const int64_t hidden = f_.arch_.hidden_size;
  if (f_.config_.weight_dtype != DType::kI8) {
    norm_row(h, row, bias, weight, f_.arch_.norm_eps, f_.row_out(out, index * hidden));
    return;
  }
  float* const exact = f_.products_[static_cast<size_t>(member_)].as<float>();
  norm_row(h, row, bias, weight, f_.arch_.norm_eps, {exact, nullptr});
  quantise_row(exact, hidden, out.as() + static_cast<size_t>(index) * f_.input_bytes(hidden));
}

// The activations [rows, cols] as products read them: themselves, or quantised row by row, which
// takes whole rows and so waits until all members have written theirs.
const Buffer& ForwardOps::input(const Buffer& activations, int64_t cols) {
  if (f_.config_.weight_dtype != DType::kI8) return activations;
  for_rows(rows(), [&](int64_t row) {
    quantise_row(f_.row_out(activations, row * cols).bf16, cols,
                 f_.quantised_.as() + static_cast<size_t>(row) * f_.input_bytes(cols));
  });
  return f_.quantised_;
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
void ForwardOps::project(const PackedMatrix& w, const Buffer& x, const Buffer& y, bool accumulate,
                         const float* bias) {
  const TiledRows out = tiled(y, w);
  const int64_t chunks = ceil_div(rows(), kRowChunk);
  const size_t row_bytes = f_.input_bytes(w.cols());
  for (int64_t i; (i = f_.team_.claim()) < w.tiles() * chunks;) {
    const int64_t t = i / chunks, first = i % chunks * kRowChunk;
    f_.matmul_.run(member_, w, t, chunk_rows(rows(), first), accumulate,
                   x.as() + static_cast<size_t>(first) * row_bytes, out.at(first, t * w.tile()));
    if (bias == nullptr) continue;
    for (int64_t row = first; row < std::min(first + kRowChunk, rows()); ++row)
      add_row(bias + t * w.tile(), w.width(t), out.at(row, t * w.tile()));
  }
  f_.team_.barrier();
}

// Calls use(tile, first row, rows, product) for every tile and chunk of x * transpose(w); the
// product is dense and private to the member.
template <class Use>
void ForwardOps::for_tiles(const PackedMatrix& w, const Buffer& x, Use&& use) {
  const int64_t chunks = ceil_div(rows(), kRowChunk);
  const size_t row_bytes = f_.input_bytes(w.cols());
  float* const y = f_.products_[static_cast<size_t>(member_)].as<float>();
  for (int64_t i; (i = f_.team_.claim()) < w.tiles() * chunks;) {
    const int64_t t = i / chunks, first = i % chunks * kRowChunk;
    f_.matmul_.run(member_, w, t, chunk_rows(rows(), first), false,
                   x.as() + static_cast<size_t>(first) * row_bytes, y);
    use(t, first, std::min(kRowChunk, rows() - first), y);
  }
  f_.team_.barrier();
}

// A tile holds whole heads: who computes it rotates and stores them while they are in its cache, so
// rope_and_store() has nothing left to do.
void ForwardOps::qkv(int layer) {
  const PackedMatrix& w = f_.model_.layers()[static_cast<size_t>(layer)].qkv;
  const int dim = f_.layers_[static_cast<size_t>(layer)].kv.dim;
  for_tiles(w, f_.normed_, [&](int64_t t, int64_t first, int64_t count, const float* y) {
    const int64_t width = w.width(t), head = t * w.tile() / dim;
    for (int64_t r = 0; r < count; ++r)
      for (int64_t i = 0; i < width / dim; ++i)
        rotate(layer, first + r, static_cast<int>(head + i), y + r * width + i * dim);
  });
}

void ForwardOps::rope_and_store(int) {}

void ForwardOps::attention_output(int layer) {
  const PackedMatrix& w = f_.model_.layers()[static_cast<size_t>(layer)].output;
  project(w, input(f_.attended_, w.cols()), f_.residual_, true);
}

void ForwardOps::down(int layer) {
  const PackedLayer& weights = f_.model_.layers()[static_cast<size_t>(layer)];
  const PackedMatrix& w = weights.down;
  project(w, input(f_.activated_, w.cols()), f_.residual_, true, weights.down_bias);
}

// Head `head` of one row, counted over queries, keys and values, as the product left it.
void ForwardOps::rotate(int layer, int64_t row, int head, const float* x) {
  const PackedLayer& weights = f_.model_.layers()[static_cast<size_t>(layer)];
  const KeyValues& kv = f_.layers_[static_cast<size_t>(layer)].kv;
  const int dim = kv.dim, heads = f_.arch_.heads;
  const int32_t request = step_.row_request[static_cast<size_t>(row)];
  const AttentionRequest& r = step_.attention[static_cast<size_t>(request)];
  const int32_t in_request = static_cast<int32_t>(row - r.first_row),
                position = r.context_len + in_request;
  const float* const bias = weights.qkv_bias == nullptr ? nullptr : weights.qkv_bias + head * dim;
  const float* const angles =
      f_.angles_[static_cast<size_t>(f_.layer_angles_[static_cast<size_t>(layer)])]
          .table.as<float>() +
      int64_t{position} * dim;
  const auto out = [](DType dtype, void* base, size_t element) {
    if (dtype == DType::kBF16) return RowOut{nullptr, static_cast<uint16_t*>(base) + element};
    return RowOut{static_cast<float*>(base) + element, nullptr};
  };

  if (head < heads) {
    rotate_head(x, bias, weights.q_norm, f_.arch_.norm_eps, angles, dim,
                out(f_.attention_.query_dtype, f_.queries_.as(),
                    static_cast<size_t>((row * heads + head) * dim)));
    return;
  }
  const bool is_key = head < heads + kv.kv_heads;
  const int kv_head = (head - heads) % kv.kv_heads;
  std::byte* const flight = is_key ? kv.flight_keys : kv.flight_values;
  const size_t from = kv.in_flight(row, kv_head);
  rotate_head(x, bias, is_key ? weights.k_norm : nullptr, f_.arch_.norm_eps,
              is_key ? angles : nullptr, dim, out(kv.dtype, flight, from));
  if (in_request >= step_.requests[static_cast<size_t>(request)].store_len) return;
  const size_t to = kv.in_page(r.pages[position / kv.page_size], kv_head, position % kv.page_size);
  std::memcpy((is_key ? kv.page_keys : kv.page_values) + to * size_of(kv.dtype),
              flight + from * size_of(kv.dtype), static_cast<size_t>(dim) * size_of(kv.dtype));
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

// A tile holds gates and ups of the same features: who computes it also joins them.
void ForwardOps::gate_up(int layer) {
  const PackedLayer& weights = f_.model_.layers()[static_cast<size_t>(layer)];
  const PackedMatrix& w = weights.gate_up;
  for_tiles(w, f_.normed_, [&](int64_t t, int64_t first, int64_t count, float* y) {
    const int64_t half = w.width(t) / 2;
    for (int64_t r = 0; weights.gate_bias != nullptr && r < count; ++r) {
      add_row(weights.gate_bias + t * w.tile() / 2, half, y + r * 2 * half);
      add_row(weights.up_bias + t * w.tile() / 2, half, y + r * 2 * half + half);
    }
    for (int64_t r = 0; r < count; ++r)
      swiglu_row(y + r * 2 * half, y + r * 2 * half + half, half,
                 f_.row_out(f_.activated_, (first + r) * w.rows() / 2 + t * w.tile() / 2));
  });
}

void ForwardOps::head_norm() {
  const TiledRows h = residual();
  const int64_t heads = static_cast<int64_t>(step_.head.size()),
                count = heads + static_cast<int64_t>(step_.carried.size());
  const size_t bytes = f_.input_bytes(f_.arch_.hidden_size);
  const auto norm_to = [&](int64_t row, const Buffer& out, int64_t index) {
    norm_row_to(h, row, nullptr, f_.model_.final_norm(), out, index);
  };
  for_rows(count, [&](int64_t i) {
    if (i >= heads) {
      const CarriedRow& c = step_.carried[static_cast<size_t>(i - heads)];
      norm_to(c.row, f_.carried_, c.slot);
    } else if (const int32_t from = step_.head_source[static_cast<size_t>(i)]; from >= 0) {
      norm_to(from, f_.normed_, i);
    } else {
      std::memcpy(f_.normed_.as() + static_cast<size_t>(i) * bytes,
                  f_.carried_.as() + static_cast<size_t>(~from) * bytes, bytes);
    }
  });
}

void ForwardOps::select() {
  f_.head_.run(member_, f_.team_, f_.matmul_, f_.normed_.as(), f_.input_bytes(f_.arch_.hidden_size),
               f_.picks_, f_.logits_);
}

}  // namespace diffulex::cpu
