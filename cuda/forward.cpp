#include "cuda/forward.h"

#include <algorithm>

#include "cuda/forward_ops.h"
#include "cuda/tensor_map.h"
#include "model/body.h"

namespace diffulex::cuda {
namespace {

constexpr int64_t kHeadChunk = Forward::kInvariantRows;  // head rows whose logits exist at a time
constexpr int64_t kGreedyChunk = 1024;  // head rows whose reduced tiles exist at a time
constexpr int kOwnRows = 128;           // up to here the own products are the faster ones

int64_t tile_count(const ArchSpec& arch, int64_t ids) { return (arch.vocab_size + ids - 1) / ids; }

// Which steps use the own products: none where they cannot be computed.
int own_rows(const ArchSpec& arch, const BackendConfig& config) {
  if (config.weight_dtype != DType::kBF16 || !has_copy_engine(config.device)) return 0;
  constexpr int kStep = 2 * kBoxColumns;  // of every k
  if (arch.hidden_size % kStep != 0 || arch.vocab_size > most_reduced_ids()) return 0;
  for (const LayerSpec& l : arch.layers)
    if (l.mlp_size % kStep != 0 || arch.heads * l.head_dim % kStep != 0) return 0;
  return config.batch_invariant ? INT32_MAX : kOwnRows;
}

int count_multiprocessors(int device) {
  int count = 1;
  check(cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device), "a device's size");
  return count;
}

int64_t max_over(const ArchSpec& arch, auto&& size) {
  int64_t most = 0;
  for (const LayerSpec& layer : arch.layers) most = std::max<int64_t>(most, size(layer));
  return most;
}

// Of keys or of values.
size_t layer_kv_bytes(const LayerSpec& layer, const BackendConfig& config, int64_t pages) {
  return static_cast<size_t>(pages) * static_cast<size_t>(config.page_size) *
         static_cast<size_t>(layer.kv_heads * layer.head_dim) * size_of(config.weight_dtype);
}

// At least the keys that a request may have, as shape_of() rounds them.
int32_t longest_keys(const BackendConfig& config) {
  const int64_t keys = int64_t{config.max_pages_per_request} * config.page_size + config.max_tokens;
  int64_t rounded = 1024;
  while (rounded < keys) rounded *= 2;
  return static_cast<int32_t>(rounded);
}

// Elements of a row of any own product whose parts are stored.
int64_t most_parts(const ArchSpec& arch, const LayerSpec& l, bool invariant, int multiprocessors) {
  const int64_t hidden = arch.hidden_size, heads = arch.heads * int64_t{l.head_dim},
                all = heads + 2 * l.kv_heads * int64_t{l.head_dim};
  const auto parts = [&](int64_t n, int64_t k) {
    return n * Forward::splits(n, k, invariant, multiprocessors);
  };
  return std::max({parts(all, hidden), parts(hidden, heads), parts(hidden, l.mlp_size)});
}

size_t rounded_rows(const BackendConfig& config, int rows) {
  const int64_t unit = config.batch_invariant ? Forward::kInvariantRows : 1;
  return static_cast<size_t>((rows + unit - 1) / unit * unit);
}

// Sizes of the step buffers in bytes.
struct Sizes {
  size_t residual, normed, qkv, q, gate_up, activated, flight, carried, logits, tiles, tables,
      partials, parts, sorting;

  Sizes(const ArchSpec& arch, const BackendConfig& config) {
    const auto rows = rounded_rows(config, config.max_tokens),
               hidden = static_cast<size_t>(arch.hidden_size),
               element = size_of(config.weight_dtype),
               requests = static_cast<size_t>(config.max_requests);
    const auto widest = [&](auto&& size) { return static_cast<size_t>(max_over(arch, size)); };
    residual = rows * hidden * sizeof(float);
    normed = std::max(rows, rounded_rows(config, config.max_head_rows)) * hidden * element;
    qkv = rows * element * widest([&](const LayerSpec& l) {
            return (arch.heads + 2 * l.kv_heads) * int64_t{l.head_dim};
          });
    q = rows * element * widest([&](const LayerSpec& l) { return arch.heads * l.head_dim; });
    activated = rows * element * widest([](const LayerSpec& l) { return l.mlp_size; });
    gate_up = 2 * activated;
    flight = rows * element * widest([](const LayerSpec& l) { return l.kv_heads * l.head_dim; });
    carried = config.carry_rows ? requests * hidden * element : 0;
    const size_t chunk =
        std::min(static_cast<size_t>(kHeadChunk), rounded_rows(config, config.max_head_rows));
    logits = chunk * static_cast<size_t>(arch.vocab_size) * sizeof(float);
    tiles = chunk * static_cast<size_t>(tile_count(arch, decide::kTileIds));
    const int own = own_rows(arch, config);
    if (own > 0) {
      const int64_t greedy = std::min<int64_t>(kGreedyChunk, config.max_head_rows);
      tiles = std::max(tiles, static_cast<size_t>(greedy * tile_count(arch, kProductColumns)));
    }
    tiles *= sizeof(decide::TilePartial);
    parts =
        static_cast<size_t>(std::min(own, config.max_tokens)) * sizeof(float) *
        widest([&](const LayerSpec& l) {
          return most_parts(arch, l, config.batch_invariant, count_multiprocessors(config.device));
        });
    tables = requests * static_cast<size_t>(config.max_pages_per_request) * sizeof(int32_t);
    sorting = sort_bytes(arch.vocab_size);
    partials = 0;
    for (const LayerSpec& l : arch.layers)
      partials = std::max(partials, attention_workspace_bytes(
                                        config.weight_dtype, arch.heads, l.kv_heads, l.head_dim,
                                        Forward::max_items(arch, config), longest_keys(config)));
  }
  uint64_t sum() const {
    return residual + normed + qkv + 2 * q + gate_up + activated + 2 * flight + carried + logits +
           tiles + tables + partials + parts + sorting;
  }
};

}  // namespace

// Where results must not tell one row from thousands, both have as many: few rows gain by more,
// many rows have to store and read each.
int Forward::splits(int64_t n, int64_t k, bool invariant, int multiprocessors) {
  const int splits = product_splits(n, k, multiprocessors);
  return invariant ? std::min(splits, 2) : splits;
}

int32_t Forward::max_items(const ArchSpec& arch, const BackendConfig& config) {
  return config.max_tokens / item_rows(arch) + config.max_requests;
}

int Forward::item_rows(const ArchSpec& arch) {
  int least = INT32_MAX;
  for (const LayerSpec& layer : arch.layers)
    least = std::min(least, attention_item_rows(arch.heads, layer.kv_heads));
  return least;
}

MemoryPlan Forward::plan(const ArchSpec& arch, const BackendConfig& config) {
  MemoryPlan plan;
  plan.weights = DeviceModel::planned_bytes(arch, config.weight_dtype);
  for (const LayerSpec& layer : arch.layers)
    plan.kv += 2 * layer_kv_bytes(layer, config, config.kv_pages);
  const auto positions = static_cast<uint64_t>(config.max_pages_per_request) *
                             static_cast<uint64_t>(config.page_size) +
                         static_cast<uint64_t>(config.max_tokens);
  plan.workspace =
      Sizes(arch, config).sum() +
      positions * sizeof(float) *
          static_cast<uint64_t>(max_over(arch, [](const LayerSpec& l) { return l.head_dim; }));
  return plan;
}

Forward::Forward(const ArchSpec& arch, const BackendConfig& config, const DeviceModel& model,
                 Blas& blas, cudaStream_t stream)
    : arch_(arch),
      config_(config),
      dtype_(config.weight_dtype),
      model_(model),
      blas_(blas),
      stream_(stream),
      multiprocessors_(count_multiprocessors(config.device)),
      warpgroups_(has_copy_engine(config.device)),
      own_rows_(own_rows(arch, config)) {
  const Sizes sizes(arch, config);
  for (auto [memory, bytes] : {std::pair{&residual_, sizes.residual},
                               {&normed_, sizes.normed},
                               {&qkv_, sizes.qkv},
                               {&queries_, sizes.q},
                               {&attended_, sizes.q},
                               {&gate_up_, sizes.gate_up},
                               {&activated_, sizes.activated},
                               {&flight_keys_, sizes.flight},
                               {&flight_values_, sizes.flight},
                               {&carried_, sizes.carried},
                               {&partials_, sizes.partials},
                               {&parts_, sizes.parts},
                               {&logits_, sizes.logits},
                               {&sorting_, sizes.sorting},
                               {&tiles_, sizes.tiles},
                               {&tables_, sizes.tables}})
    *memory = DeviceMemory(bytes);
  make_angles();
}

void Forward::make_angles() {
  const int64_t positions =
      int64_t{config_.max_pages_per_request} * config_.page_size + config_.max_tokens;
  for (const LayerSpec& layer : arch_.layers) {
    size_t found = 0;
    while (found < angles_.size() &&
           (angles_[found].theta != layer.rope_theta || angles_[found].dim != layer.head_dim))
      ++found;
    layer_angles_.push_back(static_cast<int>(found));
    if (found < angles_.size()) continue;
    Angles made{layer.rope_theta, layer.head_dim,
                DeviceMemory(static_cast<size_t>(positions * layer.head_dim) * sizeof(float))};
    check(
        launch_angles(made.table.as<float>(), positions, layer.head_dim, layer.rope_theta, stream_),
        "the table of angles");
    angles_.push_back(std::move(made));
  }
}

void Forward::place_cache(int64_t pages) {
  size_t total = 0;
  for (const LayerSpec& spec : arch_.layers) total += 2 * layer_kv_bytes(spec, config_, pages);
  kv_ = DeviceMemory();  // both may not fit
  kv_ = DeviceMemory(total);
  if (total > 0) check(cudaMemsetAsync(kv_.as(), 0, total, stream_), "the KV cache");
  layers_.clear();
  std::byte* at = kv_.as();
  for (const LayerSpec& spec : arch_.layers) {
    const size_t bytes = layer_kv_bytes(spec, config_, pages);
    layers_.push_back({dtype_, spec.kv_heads, spec.head_dim, config_.page_size, config_.max_tokens,
                       at, at + bytes, flight_keys_.as(), flight_values_.as()});
    at += 2 * bytes;
  }
}

uint64_t Forward::workspace_bytes() const {
  uint64_t sum = blas_.workspace_bytes();
  for (const DeviceMemory* m :
       {&residual_, &normed_, &qkv_, &queries_, &attended_, &gate_up_, &activated_, &flight_keys_,
        &flight_values_, &carried_, &partials_, &parts_, &logits_, &tiles_, &tables_, &sorting_})
    sum += m->bytes();
  for (const Angles& a : angles_) sum += a.table.bytes();
  return sum;
}

void Forward::run(const StepView& step, std::span<const HeadRow> heads, decide::Pick* picks) {
  step_ = step;
  check(launch_tables(step, tables_.as<int32_t>(), config_.max_pages_per_request, stream_),
        "the page tables");
  ForwardOps ops(*this);
  transformer_body(arch_, ops);
  select(heads, picks);
}

int32_t Forward::token_count() const {
  return arch_.token_count > 0 ? arch_.token_count : arch_.vocab_size;
}

// The head's product, reduced where it is computed, and the best tokens.
void Forward::select_greedy(decide::Pick* picks) {
  const auto tiles = static_cast<int32_t>(tile_count(arch_, kProductColumns));
  const int32_t total = step_.shape.heads;
  for (int32_t first = 0; first < total; first += kGreedyChunk) {
    const auto count = static_cast<int32_t>(std::min<int64_t>(kGreedyChunk, total - first));
    const std::byte* const x = normed_.as() + static_cast<int64_t>(first) * arch_.hidden_size * 2;
    const HeadReduction head{tiles_.as<decide::TilePartial>(), tiles, token_count(), first};
    const ProductArgs args{
        map_matrix(model_.head(), arch_.vocab_size, arch_.hidden_size, kProductColumns),
        map_matrix(x, count, arch_.hidden_size, product_box_rows(count)),
        count,
        arch_.vocab_size,
        arch_.hidden_size,
        1,
        multiprocessors_,
        &step_.counts->heads,
        first};
    check(launch_reduced_product(args, head, step_, stream_), "the head");
    check(launch_pick_reduced(head, count, step_, picks, stream_), "the selection of tokens");
  }
}

// The head's product and the selection, a chunk of rows at a time.
void Forward::select(std::span<const HeadRow> heads, decide::Pick* picks) {
  // Which way a row goes must not depend on the others in batch-invariant mode: greedy rows always
  // go the same one.
  const bool both = own_rows_ > 0 && config_.batch_invariant;
  if (both || (step_.shape.greedy && own_rows_ > 0)) {
    select_greedy(picks);
    if (step_.shape.greedy) return;
  }
  const int64_t total = step_.shape.heads;
  for (int64_t first = 0; first < total; first += kHeadChunk) {
    const int64_t count = std::min(kHeadChunk, total - first);
    const std::byte* const x =
        normed_.as() + static_cast<size_t>(first * arch_.hidden_size) * size_of(dtype_);
    const int64_t rows = config_.batch_invariant ? kHeadChunk : count;
    blas_.run({x, model_.head(), logits_.as(), rows, arch_.vocab_size, arch_.hidden_size, dtype_,
               DType::kF32, false},
              stream_);
    const HeadChunk chunk{static_cast<int32_t>(first),
                          static_cast<int32_t>(count),
                          arch_.vocab_size,
                          token_count(),
                          logits_.as<float>(),
                          tiles_.as<decide::TilePartial>(),
                          static_cast<int32_t>(tile_count(arch_, decide::kTileIds)),
                          picks,
                          both};
    check(launch_reduce(chunk, step_, stream_), "the reduction of logits");
    check(launch_pick(chunk, step_, stream_), "the selection of tokens");
    for (int64_t row = 0; row < count && first + row < static_cast<int64_t>(heads.size()); ++row) {
      if (!decide::truncates(heads[static_cast<size_t>(first + row)].sampler)) continue;
      check(launch_pick_sorted(chunk, step_, static_cast<int32_t>(row), sorting_.as(), stream_),
            "the sorting of candidates");
    }
  }
}

}  // namespace diffulex::cuda
