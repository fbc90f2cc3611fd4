#include "backend/cpu/forward.h"

#include <algorithm>
#include <cmath>

#include "backend/cpu/forward_ops.h"
#include "base/error.h"
#include "model/body.h"

namespace diffulex::cpu {

namespace {

int64_t max_over(const ArchSpec& arch, auto&& size) {
  int64_t most = 0;
  for (const LayerSpec& layer : arch.layers) most = std::max<int64_t>(most, size(layer));
  return most;
}

size_t layer_kv_bytes(const LayerSpec& layer, const BackendConfig& config) {  // keys or values
  return static_cast<size_t>(config.kv_pages) * static_cast<size_t>(config.page_size) *
         static_cast<size_t>(layer.kv_heads * layer.head_dim) * size_of(config.kv_dtype);
}

// Sizes of the step buffers in bytes.
struct Sizes {
  size_t residual, normed, queries, attended, activated, quantised = 0, flight, product, members,
                                                         carried;

  Sizes(const ArchSpec& arch, const BackendConfig& config) {
    const int64_t capacity = round_up(config.max_tokens, kRowBucket),
                  element = static_cast<int64_t>(size_of(activation_dtype(config.weight_dtype)));
    const int64_t q = max_over(arch, [&](const LayerSpec& l) { return arch.heads * l.head_dim; });
    const int64_t kv = max_over(arch, [&](const LayerSpec& l) { return l.kv_heads * l.head_dim; });
    const int64_t mlp = max_over(arch, [&](const LayerSpec& l) { return l.mlp_size; });
    residual = static_cast<size_t>(capacity * arch.hidden_size) * sizeof(float);
    const size_t input = input_row_bytes(config.weight_dtype, arch.hidden_size);
    normed = static_cast<size_t>(capacity + kRowBucket) * input;  // see Head's exact rows
    queries = static_cast<size_t>(capacity * q) * sizeof(float);
    attended = static_cast<size_t>(capacity * q * element);
    activated = static_cast<size_t>(capacity * mlp * element);
    if (config.weight_dtype == DType::kI8)
      quantised = static_cast<size_t>(capacity) * int8_row_bytes(std::max(q, mlp));
    const int64_t widest =
        std::max(2 * std::min(kTile, mlp),
                 max_over(arch, [](const LayerSpec& l) { return qkv_tile(l.head_dim); }));
    product = static_cast<size_t>(std::max<int64_t>(kRowChunk * widest, arch.hidden_size)) *
              sizeof(float);
    members = static_cast<size_t>(config.threads);
    flight = static_cast<size_t>(capacity * kv) * size_of(config.kv_dtype);
    carried = config.carry_rows ? static_cast<size_t>(config.max_requests) * input : 0;
  }
  uint64_t sum() const {
    return residual + normed + queries + attended + activated + quantised + 2 * flight +
           members * product + carried;
  }
};

const AttentionKernels& choose_attention(const BackendConfig& config) {
  const AttentionKernels* const fast = config.kv_dtype == DType::kBF16 ? bf16_attention() : nullptr;
  return fast != nullptr ? *fast : portable_attention();
}

}  // namespace

MemoryPlan plan_forward(const ArchSpec& arch, const BackendConfig& config) {
  MemoryPlan plan;
  plan.weights = PackedModel::planned_bytes(arch, config.weight_dtype);
  for (const LayerSpec& layer : arch.layers) plan.kv += 2 * layer_kv_bytes(layer, config);
  const uint64_t positions = static_cast<uint64_t>(config.max_pages_per_request) *
                                 static_cast<uint64_t>(config.page_size) +
                             static_cast<uint64_t>(config.max_tokens);
  const uint64_t select_tiles = static_cast<uint64_t>(ceil_div(arch.vocab_size, decide::kTileIds));
  plan.workspace =
      Sizes(arch, config).sum() +
      positions *
          static_cast<uint64_t>(max_over(arch, [](const LayerSpec& l) { return l.head_dim; })) *
          sizeof(float) +
      static_cast<uint64_t>(config.threads * kRowChunk * Head::kTile) * sizeof(float) +
      static_cast<uint64_t>(kRowChunk) * select_tiles * sizeof(decide::TilePartial);
  return plan;
}

Forward::Forward(const ArchSpec& arch, const BackendConfig& config, const PackedModel& model,
                 Matmul& matmul, Team& team)
    : arch_(arch),
      config_(config),
      model_(model),
      matmul_(matmul),
      team_(team),
      attention_(choose_attention(config)),
      capacity_(round_up(config.max_tokens, kRowBucket)),
      head_(&model.head(),
            {config.threads, arch.token_count > 0 ? arch.token_count : arch.vocab_size,
             config.max_head_rows}) {
  const Sizes sizes(arch, config);
  constexpr size_t kAlignment = 64;
  const size_t members = sizes.members, parts = 9 + members;
  workspace_ = Buffer::on_huge_pages(sizes.sum() + parts * kAlignment);
  workspace_.zero();  // rows behind the last one are computed too: keep them defined
  size_t at = 0;
  const auto take = [&](size_t bytes) {
    Buffer part = Buffer::part_of(workspace_, at, bytes);
    at += static_cast<size_t>(round_up(static_cast<int64_t>(bytes), kAlignment));
    return part;
  };
  for (auto [buffer, bytes] : {std::pair{&residual_, sizes.residual},
                               {&normed_, sizes.normed},
                               {&queries_, sizes.queries},
                               {&attended_, sizes.attended},
                               {&activated_, sizes.activated},
                               {&quantised_, sizes.quantised},
                               {&carried_, sizes.carried},
                               {&flight_keys_, sizes.flight},
                               {&flight_values_, sizes.flight}})
    *buffer = take(bytes);
  const int group =
      static_cast<int>(max_over(arch, [&](const LayerSpec& l) { return arch.heads / l.kv_heads; }));
  const int dim = static_cast<int>(max_over(arch, [](const LayerSpec& l) { return l.head_dim; }));
  for (int i = 0; i < config.threads; ++i) {
    scratch_.emplace_back(group, dim);
    products_.push_back(take(sizes.product));
  }
  make_angles();
  make_layers();
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
    const int half = layer.head_dim / 2;
    Angles made{layer.rope_theta, layer.head_dim,
                Buffer(static_cast<size_t>(positions * layer.head_dim) * sizeof(float))};
    float* const table = made.table.as<float>();
    team_.run([&](int member) {
      for (int i = member; i < half; i += team_.size()) {
        const double frequency = std::pow(double{layer.rope_theta}, -2.0 * i / layer.head_dim);
        for (int64_t p = 0; p < positions; ++p) {
          const double angle = static_cast<double>(p) * frequency;
          table[p * layer.head_dim + i] = static_cast<float>(std::cos(angle));
          table[p * layer.head_dim + half + i] = static_cast<float>(std::sin(angle));
        }
      }
    });
    angles_.push_back(std::move(made));
  }
}

void Forward::make_layers() {
  size_t total = 0;
  for (const LayerSpec& spec : arch_.layers)
    total +=
        2 * static_cast<size_t>(round_up(static_cast<int64_t>(layer_kv_bytes(spec, config_)), 64));
  kv_ = Buffer(total);
  std::byte* at = kv_.as();
  for (const LayerSpec& spec : arch_.layers) {
    const int64_t bytes = round_up(static_cast<int64_t>(layer_kv_bytes(spec, config_)), 64);
    AttentionLayer layer;
    layer.kv = {config_.kv_dtype,  spec.kv_heads,     spec.head_dim,
                config_.page_size, capacity_,         at,
                at + bytes,        flight_keys_.as(), flight_values_.as()};
    layer.heads = arch_.heads;
    layer.sliding_window = spec.sliding_window;
    layer.scale = arch_.attention_scale;
    layer.queries = queries_.as();
    layer.out = row_out(attended_, 0);
    layers_.push_back(layer);
    at += 2 * bytes;
  }
}

RowOut Forward::row_out(const Buffer& buffer, int64_t element) const {
  if (activation_dtype(config_.weight_dtype) == DType::kBF16)
    return {nullptr, buffer.as<uint16_t>() + element};
  return {buffer.as<float>() + element, nullptr};
}

uint64_t Forward::workspace_bytes() const {
  uint64_t sum = head_.bytes() + matmul_.scratch_bytes();
  for (const Buffer* b : {&residual_, &normed_, &queries_, &attended_, &activated_, &quantised_,
                          &carried_, &flight_keys_, &flight_values_})
    sum += b->bytes();
  for (const Buffer& b : products_) sum += b.bytes();
  for (const Angles& a : angles_) sum += a.table.bytes();
  for (const AttentionScratch& s : scratch_) sum += s.bytes();
  return sum;
}

void Forward::run(const Step& step, decide::Pick* picks, float* logits) {
  step_ = &step;
  picks_ = picks;
  logits_ = logits;
  const int64_t rows = static_cast<int64_t>(step.tokens.size());
  if (rows == 0) return;
  for (const PackedLayer& layer : model_.layers()) {
    matmul_.prepare(layer.qkv, rows, false);
    matmul_.prepare(layer.output, rows, true);
    matmul_.prepare(layer.gate_up, rows, false);
    matmul_.prepare(layer.down, rows, true);
  }
  head_.prepare(matmul_, step.head);

  const SingleThreadedOpenMp single;
  team_.run([this](int member) {
    ForwardOps ops(*this, member);
    transformer_body(arch_, ops);
    ops.select();
  });
  if (matmul_.take_failure()) throw Error(DIFFULEX_E_INTERNAL, "a oneDNN matrix product failed");
}

}  // namespace diffulex::cpu
