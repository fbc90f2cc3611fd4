#include "backend/cpu/forward.h"

#include <algorithm>
#include <cstring>

#include "backend/cpu/attention.h"
#include "backend/cpu/kernels.h"

namespace diffulex::cpu {
namespace {

constexpr int kOperationsPerLayer = 8;

unsigned char* at(unsigned char* base, int64_t element, DType type) {
  return base + element * static_cast<int64_t>(size_of(type));
}

// Query tokens of one attention item.
int tokens_per_item(int group) { return std::max(1, kMaxAttentionRows / group); }

}  // namespace

size_t operation_count(const ArchSpec& arch, int head_rows) {
  const int chunks = (head_rows + kHeadRows - 1) / kHeadRows;
  return arch.layers.size() * kOperationsPerLayer + 4 + 2 * static_cast<size_t>(chunks);
}

void Forward::embed() {
  const int h = s_.arch.hidden_size;
  const DType type = s_.config.weight_dtype;
  share_rows([&](int r) {
    const int64_t id = s_.tokens[static_cast<size_t>(r)];
    load(s_.model.embedding.data() + id * h * static_cast<int64_t>(size_of(type)), type, h, &s_.work.x[static_cast<size_t>(r) * h]);
  });
}

void Forward::norm_rows(const float* weight) {
  const int h = s_.arch.hidden_size;
  const DType type = s_.config.weight_dtype;
  share_rows([&](int r) {
    rms_norm(&s_.work.x[static_cast<size_t>(r) * h], weight, h, s_.arch.norm_eps, at(s_.work.a.data(), int64_t{r} * h, type), type);
  });
}

void Forward::input_norm(int layer) { norm_rows(s_.model.layers[static_cast<size_t>(layer)].input_norm.data()); }
void Forward::mlp_norm(int layer) { norm_rows(s_.model.layers[static_cast<size_t>(layer)].post_norm.data()); }

// out (=|+=) in * matrix^T, tiles claimed by whoever is free; the rows of a tile are cut into pieces of kMaxRows.
void Forward::project(const PackedMatrix& matrix, const void* in, int in_width, float* out, int out_stride, Write write,
                      const float* bias) {
  const auto row_bytes = static_cast<size_t>(in_width) * size_of(s_.config.weight_dtype);
  share(matrix.tile_count(), [&](int tile) {
    const int column = tile * matrix.tile_n, width = matrix.tile_width(tile);
    for (int first = 0; first < rows(); first += kMaxRows) {
      const int count = std::min(kMaxRows, rows() - first);
      float* to = out + static_cast<size_t>(first) * static_cast<size_t>(out_stride) + column;
      const auto* from = static_cast<const unsigned char*>(in) + static_cast<size_t>(first) * row_bytes;
      if (!s_.matmul.multiply(member_, matrix, tile, from, count, to, out_stride, write)) s_.failed = true;
      for (int r = 0; bias != nullptr && r < count; ++r)
        add_bias(to + static_cast<size_t>(r) * static_cast<size_t>(out_stride), bias + column, width);
    }
  });
}

void Forward::qkv(int layer) {
  const PackedLayer& l = s_.model.layers[static_cast<size_t>(layer)];
  project(l.qkv, s_.work.a.data(), s_.arch.hidden_size, s_.work.qkv.data(), s_.work.qkv_stride, Write::kStore, l.qkv_bias.data());
}

// Norms and rotates one row's heads and writes its keys and values: for this forward, and to its page when they are final.
void Forward::store_row(int layer, int row) {
  const LayerSpec& spec = s_.arch.layers[static_cast<size_t>(layer)];
  const PackedLayer& l = s_.model.layers[static_cast<size_t>(layer)];
  const RequestRow& request = s_.requests[static_cast<size_t>(s_.work.row_request[static_cast<size_t>(row)])];
  const int d = spec.head_dim, nh = s_.arch.heads, nkv = spec.kv_heads;
  const int32_t position = s_.work.row_position[static_cast<size_t>(row)];
  const float *cos = &s_.work.cosines[static_cast<size_t>(position) * static_cast<size_t>(d / 2)],
              *sin = &s_.work.sines[static_cast<size_t>(position) * static_cast<size_t>(d / 2)];
  float* q = &s_.work.qkv[static_cast<size_t>(row) * static_cast<size_t>(s_.work.qkv_stride)];
  float *k = q + nh * d, *v = k + nkv * d;
  const float eps = s_.arch.norm_eps;
  for (int h = 0; h < nh; ++h) norm_rope(q + h * d, l.q_norm.data(), d, eps, cos, sin, s_.arch.attention_scale);
  for (int h = 0; h < nkv; ++h) norm_rope(k + h * d, l.k_norm.data(), d, eps, cos, sin, 1.0f);
  const DType type = s_.config.kv_dtype;
  const int64_t fresh = int64_t{row} * nkv * d;
  store(k, nkv * d, at(s_.work.k_new.data(), fresh, type), type);
  store(v, nkv * d, at(s_.work.v_new.data(), fresh, type), type);
  if (position - request.context_len >= request.store_len) return;
  const int ps = s_.config.page_size;
  const int64_t page = s_.work.tables[request.slot * static_cast<size_t>(s_.config.max_pages_per_request) + static_cast<size_t>(position / ps)];
  const int64_t half = int64_t{nkv} * ps * d;  // of a page: keys, then values
  for (int h = 0; h < nkv; ++h) {
    const int64_t slot = page * 2 * half + (int64_t{h} * ps + position % ps) * d;
    store(k + h * d, d, at(s_.work.cache[static_cast<size_t>(layer)].data(), slot, type), type);
    store(v + h * d, d, at(s_.work.cache[static_cast<size_t>(layer)].data(), slot + half, type), type);
  }
}

void Forward::rope_and_store(int layer) {
  share_rows([&](int r) { store_row(layer, r); });
}

void Forward::attend_item(int layer, int index) {
  const LayerSpec& spec = s_.arch.layers[static_cast<size_t>(layer)];
  const int d = spec.head_dim, nkv = spec.kv_heads, group = s_.arch.heads / nkv, step = tokens_per_item(group);
  size_t r = 0;  // the request that holds the item
  for (; r < s_.requests.size(); ++r) {
    const int items = nkv * ((static_cast<int>(s_.requests[r].token_count) + step - 1) / step);
    if (index < items) break;
    index -= items;
  }
  const RequestRow& request = s_.requests[r];
  const int h = index % nkv, first = index / nkv * step;
  const int64_t row = int64_t{request.first_token} + first;
  const DType kv = s_.config.kv_dtype, act = s_.config.weight_dtype;
  const int64_t half = int64_t{nkv} * s_.config.page_size * d;
  unsigned char* cache = at(s_.work.cache[static_cast<size_t>(layer)].data(), int64_t{h} * s_.config.page_size * d, kv);
  AttentionItem item{};
  item.q = &s_.work.qkv[static_cast<size_t>(row * s_.work.qkv_stride + h * group * d)];
  item.q_stride = s_.work.qkv_stride;
  item.group = group;
  item.head_dim = d;
  item.tokens = std::min(step, static_cast<int>(request.token_count) - first);
  item.position = request.context_len + first;
  item.k_new = at(s_.work.k_new.data(), (int64_t{request.first_token} * nkv + h) * d, kv);
  item.v_new = at(s_.work.v_new.data(), (int64_t{request.first_token} * nkv + h) * d, kv);
  item.new_stride = int64_t{nkv} * d;
  item.k_pages = cache;
  item.v_pages = at(cache, half, kv);
  item.page_stride = 2 * half;
  item.table = &s_.work.tables[request.slot * static_cast<size_t>(s_.config.max_pages_per_request)];
  item.page_size = s_.config.page_size;
  item.kv_dtype = kv;
  item.rule = request.attention;
  item.context_len = request.context_len;
  item.span_end = request.context_len + static_cast<int32_t>(request.token_count);
  item.sliding_window = spec.sliding_window;
  item.out = at(s_.work.a.data(), (row * s_.arch.heads + int64_t{h} * group) * d, act);
  item.out_stride = int64_t{s_.arch.heads} * d;
  item.out_dtype = act;
  attend(item, s_.work.attention[static_cast<size_t>(member_)].data());
}

void Forward::attention(int layer) {
  const LayerSpec& spec = s_.arch.layers[static_cast<size_t>(layer)];
  const int step = tokens_per_item(s_.arch.heads / spec.kv_heads);
  int items = 0;
  for (const RequestRow& request : s_.requests) items += spec.kv_heads * ((static_cast<int>(request.token_count) + step - 1) / step);
  share(items, [&](int i) { attend_item(layer, i); });
}

void Forward::attention_output(int layer) {
  const PackedLayer& l = s_.model.layers[static_cast<size_t>(layer)];
  project(l.output, s_.work.a.data(), s_.arch.q_size(layer), s_.work.x.data(), s_.arch.hidden_size, Write::kAdd, l.output_bias.data());
}

// A tile holds gate rows and the up rows of the same features: who computes it also multiplies them.
void Forward::gate_up(int layer) {
  const PackedMatrix& matrix = s_.model.layers[static_cast<size_t>(layer)].gate_up;
  const int inner = s_.arch.layers[static_cast<size_t>(layer)].mlp_size, h = s_.arch.hidden_size;
  const DType type = s_.config.weight_dtype;
  float* product = s_.work.tile[static_cast<size_t>(member_)].data();
  share(matrix.tile_count(), [&](int tile) {
    const int stride = matrix.tile_n, width = matrix.tile_width(tile) / 2, column = tile * matrix.tile_n / 2;
    for (int first = 0; first < rows(); first += kMaxRows) {
      const int count = std::min(kMaxRows, rows() - first);
      const void* in = at(s_.work.a.data(), int64_t{first} * h, type);
      if (!s_.matmul.multiply(member_, matrix, tile, in, count, product, stride, Write::kStore)) s_.failed = true;
      for (int r = 0; r < count; ++r) {
        const float* gate = product + static_cast<ptrdiff_t>(r) * stride;
        swiglu(gate, gate + width, width, at(s_.work.mlp.data(), int64_t{first + r} * inner + column, type), type);
      }
    }
  });
}

void Forward::down(int layer) {
  const int inner = s_.arch.layers[static_cast<size_t>(layer)].mlp_size;
  project(s_.model.layers[static_cast<size_t>(layer)].down, s_.work.mlp.data(), inner, s_.work.x.data(), s_.arch.hidden_size,
          Write::kAdd, nullptr);
}

void Forward::head_norm() {
  const int h = s_.arch.hidden_size, count = static_cast<int>(s_.head_rows.size()), members = s_.team.size();
  const DType type = s_.config.weight_dtype;
  for (int i = count * member_ / members; i < count * (member_ + 1) / members; ++i) {
    const float* x = &s_.work.x[static_cast<size_t>(s_.head_rows[static_cast<size_t>(i)]) * static_cast<size_t>(h)];
    rms_norm(x, s_.model.final_norm.data(), h, s_.arch.norm_eps, at(s_.work.head_in.data(), int64_t{i} * h, type), type);
  }
  finish();
}

}  // namespace diffulex::cpu
