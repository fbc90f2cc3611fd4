#include "backend/cpu/attention.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "decide/visibility.h"

namespace diffulex::cpu {

namespace {

constexpr float kLog2E = 1.44269504088896340736f;

// Bits [begin, end) of a tile that starts at `tile`, all in absolute positions.
uint64_t range_bits(int32_t begin, int32_t end, int32_t tile) {
  const int32_t b = std::clamp(begin - tile, 0, kKeyTile), e = std::clamp(end - tile, 0, kKeyTile);
  if (b >= e) return 0;
  const uint64_t below_end = e == kKeyTile ? ~uint64_t{0} : (uint64_t{1} << e) - 1;
  return below_end & ~((uint64_t{1} << b) - 1);
}

// Points the tile at its keys and values: those of the positions at + j whose bit is set in `any`.
void find_keys(const KeyValues& kv, const AttentionRequest& request, int head, int32_t at,
               uint64_t any, AttentionTile& t) {
  const size_t size = size_of(kv.dtype);
  t.keys = (std::bit_width(any) + 15) / 16 * 16;
  for (int j = 0; j < t.keys; ++j) {
    t.key_rows[j] = t.value_rows[j] = nullptr;
    if ((any >> j & 1) == 0) continue;
    const int32_t position = at + j;
    if (position < request.context_len) {
      const int32_t page = position / kv.page_size;
      const size_t element = kv.in_page(request.pages[page], head, position - page * kv.page_size);
      t.key_rows[j] = kv.page_keys + element * size;
      t.value_rows[j] = kv.page_values + element * size;
    } else {
      const size_t element = kv.in_flight(request.first_row + position - request.context_len, head);
      t.key_rows[j] = kv.flight_keys + element * size;
      t.value_rows[j] = kv.flight_values + element * size;
    }
  }
}

}  // namespace

int32_t attention_item_rows(int group) { return std::max(1, kItemVectors / group); }

AttentionScratch::AttentionScratch(int max_group, int max_dim) {
  const size_t vectors = static_cast<size_t>(std::max(kItemVectors, max_group));
  const size_t dim = static_cast<size_t>(padded_dim(max_dim));
  const size_t sizes[] = {vectors * dim,
                          kKeyTile * dim,
                          kKeyTile * dim,
                          vectors * kKeyTile,
                          vectors * kKeyTile,
                          vectors * dim,
                          vectors,
                          vectors,
                          vectors};  // in floats, multiples of 16 but for the last three
  size_t total = 0;
  for (const size_t size : sizes) total += (size + 15) / 16 * 16;
  buffer_ = Buffer(total * sizeof(float));
  buffer_.zero();
  float* at = buffer_.as<float>();
  const size_t* size = sizes;
  const auto take = [&] {
    float* const p = at;
    at += (*size++ + 15) / 16 * 16;
    return p;
  };
  tile_.queries = take();
  tile_.packed_keys = take();
  tile_.packed_values = take();
  tile_.scores = take();
  tile_.weights = take();
  tile_.out = take();
  tile_.max = take();
  tile_.sum = take();
  tile_.decay = take();
}

void attend(const AttentionKernels& kernels, const AttentionLayer& layer,
            const AttentionRequest& request, int32_t first, int32_t count, int head,
            AttentionScratch& scratch) {
  const KeyValues& kv = layer.kv;
  AttentionTile& t = scratch.tile();
  t.dim = kv.dim;
  t.rows = count;
  t.group = layer.heads / kv.kv_heads;
  t.kv_dtype = kv.dtype;
  t.scale2 = layer.scale * kLog2E;
  const int vectors = count * t.group, stride = padded_dim(t.dim);
  const size_t group_elements = static_cast<size_t>(t.group) * static_cast<size_t>(t.dim);
  // Element of the first row's first head of the group, in queries and out.
  const size_t row_elements = static_cast<size_t>(layer.heads) * static_cast<size_t>(t.dim);
  const size_t origin = static_cast<size_t>(request.first_row + first) * row_elements +
                        static_cast<size_t>(head) * group_elements;

  const size_t query_size = size_of(kernels.query_dtype);
  for (size_t r = 0; r < static_cast<size_t>(count); ++r)
    std::memcpy(
        static_cast<std::byte*>(t.queries) + r * group_elements * query_size,
        static_cast<const std::byte*>(layer.queries) + (origin + r * row_elements) * query_size,
        group_elements * query_size);
  std::fill_n(t.out, static_cast<size_t>(vectors) * static_cast<size_t>(stride), 0.0f);
  std::fill_n(t.max, vectors, kNoMax);
  std::fill_n(t.sum, vectors, 0.0f);

  decide::KeyRange ranges[kItemVectors];
  const int32_t span_end = request.context_len + request.row_count;
  int32_t begin = span_end, end = 0;
  for (int32_t r = 0; r < count; ++r) {
    ranges[r] = decide::visible_keys(request.rule, request.context_len + first + r,
                                     request.context_len, span_end, layer.sliding_window);
    begin = std::min(begin, ranges[r].begin);
    end = std::max(end, ranges[r].end);
  }
  for (int32_t at = begin / kKeyTile * kKeyTile; at < end; at += kKeyTile) {
    uint64_t any = 0;
    for (int32_t r = 0; r < count; ++r) {
      t.visible[r] = range_bits(ranges[r].begin, ranges[r].end, at) &
                     ~range_bits(ranges[r].hole_begin, ranges[r].hole_end, at);
      any |= t.visible[r];
    }
    if (any == 0) continue;
    find_keys(kv, request, head, at, any, t);
    kernels.add_tile(t);
  }

  for (int v = 0; v < vectors; ++v) {
    const size_t to = origin + static_cast<size_t>(v / t.group) * row_elements +
                      static_cast<size_t>(v % t.group * t.dim);
    scale_row(t.out + v * stride, t.sum[v] > 0 ? 1.0f / t.sum[v] : 0.0f, t.dim,
              {layer.out.f32 != nullptr ? layer.out.f32 + to : nullptr,
               layer.out.bf16 != nullptr ? layer.out.bf16 + to : nullptr});
  }
}

}  // namespace diffulex::cpu
