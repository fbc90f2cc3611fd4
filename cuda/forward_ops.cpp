#include "cuda/forward_ops.h"

#include <utility>

#include "cuda/tensor_map.h"

namespace diffulex::cuda {

NormArgs ForwardOps::norm_args(const float* weight, const float* bias) const {
  return {f_.residual_.as<float>(),
          weight,
          bias,
          pending_,
          true,
          f_.arch_.norm_eps,
          f_.arch_.hidden_size,
          f_.dtype_,
          f_.normed_.as(),
          f_.step_.shape.rows,
          &f_.step_.counts->rows,
          nullptr,
          nullptr};
}

void ForwardOps::project(const DeviceMemory& x, const void* w, const DeviceMemory& y, int64_t n,
                         int64_t k, bool into_residual) {
  const int64_t rows = f_.step_.shape.rows;
  const int64_t step = f_.config_.batch_invariant ? Forward::kInvariantRows : rows;
  const DType out = into_residual ? DType::kF32 : f_.dtype_;
  const auto at = [](const DeviceMemory& memory, int64_t element, DType type) {
    return memory.as() + static_cast<size_t>(element) * size_of(type);
  };
  for (int64_t first = 0; first < rows; first += step)
    f_.blas_.run({at(x, first * k, f_.dtype_), w, at(y, first * n, out), step, n, k, f_.dtype_, out,
                  into_residual},
                 f_.stream_);
}

CUtensorMap ForwardOps::input_map(const DeviceMemory& x, int64_t k) const {
  const int rows = f_.step_.shape.rows;
  return map_matrix(x.as(), rows, k, product_box_rows(rows));
}

ProductParts ForwardOps::project_parts(const DeviceMemory& x, const void* w, int64_t n, int64_t k) {
  const int rows = f_.step_.shape.rows;
  const int splits = Forward::splits(n, k, f_.config_.batch_invariant, f_.multiprocessors_);
  const ProductArgs args{map_matrix(w, n, k, kProductColumns),
                         input_map(x, k),
                         rows,
                         static_cast<int>(n),
                         static_cast<int>(k),
                         splits,
                         f_.multiprocessors_};
  check(launch_product(args, f_.parts_.as<float>(), f_.stream_), "a product");
  return {f_.parts_.as<float>(), splits, rows * n};
}

void ForwardOps::project_into_residual(const DeviceMemory& x, const void* w, int64_t k) {
  const int64_t n = f_.arch_.hidden_size;
  if (own()) {
    pending_ = project_parts(x, w, n, k);
    return;
  }
  project(x, w, f_.residual_, n, k, true);
}

void ForwardOps::embed() {
  check(launch_embed(f_.model_.embedding(), f_.dtype_, f_.step_, f_.arch_.hidden_size,
                     f_.residual_.as<float>(), f_.stream_),
        "the embedding");
}

void ForwardOps::input_norm(int layer) {
  // The bias of the layer in front was left for here.
  const float* const bias = layer > 0 ? weights(layer - 1).down_bias : nullptr;
  check(launch_norm(norm_args(weights(layer).input_norm, bias), f_.stream_), "a norm");
  pending_ = {};
}

RopeArgs ForwardOps::rope_args(int layer) const {
  const DeviceLayer& w = weights(layer);
  const size_t angles = static_cast<size_t>(f_.layer_angles_[static_cast<size_t>(layer)]);
  return {f_.qkv_.as(),
          pending_,
          w.qkv_bias,
          w.q_norm,
          w.k_norm,
          f_.arch_.norm_eps,
          f_.angles_[angles].table.as<float>(),
          f_.arch_.heads,
          f_.layers_[static_cast<size_t>(layer)],
          f_.tables_.as<int32_t>(),
          f_.config_.max_pages_per_request,
          f_.queries_.as()};
}

ProductArgs ForwardOps::qkv_args(int layer) const {
  const KeyValues& kv = f_.layers_[static_cast<size_t>(layer)];
  const int n = (f_.arch_.heads + 2 * kv.kv_heads) * kv.dim, hidden = f_.arch_.hidden_size;
  return {map_matrix(weights(layer).qkv, n, hidden, kProductColumns),
          input_map(f_.normed_, hidden),
          f_.step_.shape.rows,
          n,
          hidden,
          1,
          f_.multiprocessors_};
}

void ForwardOps::qkv(int layer) {
  const KeyValues& kv = f_.layers_[static_cast<size_t>(layer)];
  const int64_t n = int64_t{f_.arch_.heads + 2 * kv.kv_heads} * kv.dim;
  if (own()) {
    pending_ = project_parts(f_.normed_, weights(layer).qkv, n, f_.arch_.hidden_size);
    return;
  }
  rotated_ = f_.own_rows_ > 0 && rotated_fills(qkv_args(layer), rope_args(layer));
  if (!rotated_) project(f_.normed_, weights(layer).qkv, f_.qkv_, n, f_.arch_.hidden_size);
}

void ForwardOps::rope_and_store(int layer) {
  const RopeArgs args = rope_args(layer);
  pending_ = {};
  if (std::exchange(rotated_, false))
    check(launch_rotated_product(qkv_args(layer), args, f_.step_, f_.stream_), "a product");
  else
    check(launch_rope(args, f_.step_, f_.stream_), "the rotation of heads");
}

void ForwardOps::attention(int layer) {
  AttentionArgs args{};
  args.kv = f_.layers_[static_cast<size_t>(layer)];
  args.heads = f_.arch_.heads;
  args.sliding_window = f_.arch_.layers[static_cast<size_t>(layer)].sliding_window;
  args.scale = f_.arch_.attention_scale;
  args.requests = f_.step_.requests;
  args.tables = f_.tables_.as<int32_t>();
  args.table_stride = f_.config_.max_pages_per_request;
  args.items = f_.step_.items;
  args.item_count = f_.step_.shape.items;
  args.rows = f_.step_.shape.rows;
  args.max_keys = f_.step_.shape.max_keys;
  args.multiprocessors = f_.warpgroups_ ? f_.multiprocessors_ : 0;
  args.workspace = f_.partials_.as();
  args.workspace_bytes = f_.partials_.bytes();
  args.queries = f_.queries_.as();
  args.out = f_.attended_.as();
  check(launch_attention(args, f_.stream_), "attention");
}

void ForwardOps::attention_output(int layer) {
  const KeyValues& kv = f_.layers_[static_cast<size_t>(layer)];
  project_into_residual(f_.attended_, weights(layer).output, int64_t{f_.arch_.heads} * kv.dim);
}

void ForwardOps::mlp_norm(int layer) {
  const DeviceLayer& w = weights(layer);
  check(launch_norm(norm_args(w.post_norm, w.output_bias), f_.stream_), "a norm");
  pending_ = {};
}

void ForwardOps::gate_up(int layer) {
  const int mlp = f_.arch_.layers[static_cast<size_t>(layer)].mlp_size,
            hidden = f_.arch_.hidden_size;
  const float* const bias = weights(layer).gate_up_bias;
  // The epilogues of the own products know no bias: few models have one.
  if (f_.own_rows_ > 0 && bias == nullptr) {
    const ProductArgs args{map_halves(weights(layer).gate_up, mlp, hidden, kProductColumns),
                           input_map(f_.normed_, hidden),
                           f_.step_.shape.rows,
                           mlp,
                           hidden,
                           1,
                           f_.multiprocessors_};
    if (own() || activated_fills(args)) {
      check(launch_activated_product(args, f_.activated_.as(), f_.stream_), "a product");
      return;
    }
  }
  project(f_.normed_, weights(layer).gate_up, f_.gate_up_, 2 * int64_t{mlp}, hidden);
  check(launch_swiglu(f_.gate_up_.as(), bias, f_.dtype_, f_.step_.shape.rows, mlp,
                      f_.activated_.as(), f_.stream_),
        "the activation");
}

void ForwardOps::down(int layer) {
  project_into_residual(f_.activated_, weights(layer).down,
                        f_.arch_.layers[static_cast<size_t>(layer)].mlp_size);
}

// The rows that the sampler reads; carried ones are read before this step's are kept.
void ForwardOps::head_norm() {
  NormArgs args = norm_args(f_.model_.final_norm(), f_.model_.layers().back().down_bias);
  args.rows = f_.step_.shape.heads;
  args.count = &f_.step_.counts->heads;
  args.from = f_.step_.head_source;
  args.carried = f_.carried_.as();
  args.keep = false;  // a row may be read twice
  check(launch_norm(args, f_.stream_), "the head's norm");
  check(launch_carry(args, f_.step_, f_.carried_.as(), f_.stream_), "the carried rows");
}

}  // namespace diffulex::cuda
