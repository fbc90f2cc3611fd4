#include "backend/cpu/attention.h"

#include <algorithm>
#include <cstring>

#include "decide/visibility.h"

namespace diffulex::cpu {

namespace {

constexpr int kItemVectors = 64;  // enough to pay for packing a tile, few enough for the caches
constexpr float kLog2E = 1.44269504088896340736f;

// Bits [begin, end) of a tile that starts at `tile`, all in absolute positions.
uint64_t range_bits(int32_t begin, int32_t end, int32_t tile) {
  const int32_t b = std::clamp(begin - tile, 0, kKeyTile), e = std::clamp(end - tile, 0, kKeyTile);
  if (b >= e) return 0;
  const uint64_t below_end = e == kKeyTile ? ~uint64_t{0} : (uint64_t{1} << e) - 1;
  return below_end & ~((uint64_t{1} << b) - 1);
}

}  // namespace

int32_t attention_item_rows(int group) { return std::max(1, kItemVectors / group); }

AttentionScratch::AttentionScratch(int max_group, int max_dim) {
  const size_t vectors = static_cast<size_t>(std::max(kItemVectors, max_group));
  const size_t dim = static_cast<size_t>(padded_dim(max_dim));
  const size_t sizes[] = {vectors * dim * 4,
                          kKeyTile * dim * 4,
                          kKeyTile * dim * 4,
                          vectors * kKeyTile * 4,
                          vectors * kKeyTile * 4,
                          vectors * dim * 4,
                          vectors * 4,
                          vectors * 4,
                          vectors * 4};
  size_t total = 0;
  for (const size_t size : sizes)
    total += static_cast<size_t>(round_up(static_cast<int64_t>(size), 64));
  buffer_ = Buffer(total);
  buffer_.zero();
  std::byte* at = buffer_.as();
  auto take = [&, i = 0]() mutable {
    std::byte* const p = at;
    at += round_up(static_cast<int64_t>(sizes[i++]), 64);
    return p;
  };
  queries_ = take();
  keys_ = take();
  values_ = take();
  scores_ = reinterpret_cast<float*>(take());
  weights_ = take();
  out_ = reinterpret_cast<float*>(take());
  max_ = reinterpret_cast<float*>(take());
  sum_ = reinterpret_cast<float*>(take());
  decay_ = reinterpret_cast<float*>(take());
}

void attend(const AttentionKernels& kernels, const AttentionLayer& layer,
            const AttentionRequest& request, int32_t first, int32_t count, int head,
            const AttentionScratch& scratch) {
  const KeyValues& kv = layer.kv;
  const int dim = kv.dim, group = layer.heads / kv.kv_heads, stride = padded_dim(dim);
  const int vectors = count * group;
  const size_t row_elements = static_cast<size_t>(layer.heads) * static_cast<size_t>(dim);
  const size_t group_elements = static_cast<size_t>(group) * static_cast<size_t>(dim);
  const size_t head_element = static_cast<size_t>(head) * group_elements;
  const size_t first_row = static_cast<size_t>(request.first_row + first);

  const size_t query_size = size_of(kernels.query_dtype), kv_size = size_of(kv.dtype);
  for (int r = 0; r < count; ++r)
    std::memcpy(
        static_cast<std::byte*>(scratch.queries_) +
            static_cast<size_t>(r) * group_elements * query_size,
        static_cast<const std::byte*>(layer.queries) +
            ((first_row + static_cast<size_t>(r)) * row_elements + head_element) * query_size,
        group_elements * query_size);
  std::fill_n(scratch.out_, static_cast<size_t>(vectors * stride), 0.0f);
  std::fill_n(scratch.max_, vectors, kNoMax);
  std::fill_n(scratch.sum_, vectors, 0.0f);

  decide::KeyRange ranges[kItemVectors];
  int32_t begin = request.context_len + request.row_count, end = 0;
  for (int r = 0; r < count; ++r) {
    ranges[r] =
        decide::visible_keys(request.rule, request.context_len + first + r, request.context_len,
                             request.context_len + request.row_count, layer.sliding_window);
    begin = std::min(begin, ranges[r].begin);
    end = std::max(end, ranges[r].end);
  }

  const void *keys[kKeyTile], *values[kKeyTile];
  uint64_t visible[kItemVectors];
  for (int32_t tile = begin / kKeyTile * kKeyTile; tile < end; tile += kKeyTile) {
    uint64_t any = 0;
    for (int r = 0; r < count; ++r) {
      visible[r] = range_bits(ranges[r].begin, ranges[r].end, tile) &
                   ~range_bits(ranges[r].hole_begin, ranges[r].hole_end, tile);
      any |= visible[r];
    }
    if (any == 0) continue;
    for (int j = 0; j < kKeyTile; ++j) {
      keys[j] = values[j] = nullptr;
      if ((any >> j & 1) == 0) continue;
      const int32_t position = tile + j;
      if (position < request.context_len) {
        const int32_t page = position / kv.page_size;
        const size_t at =
            kv.in_page(request.pages[page], head, position - page * kv.page_size) * kv_size;
        keys[j] = kv.page_keys + at;
        values[j] = kv.page_values + at;
      } else {
        const size_t at =
            kv.in_flight(request.first_row + position - request.context_len, head) * kv_size;
        keys[j] = kv.flight_keys + at;
        values[j] = kv.flight_values + at;
      }
    }
    kernels.pack_keys(keys, kv.dtype, dim, scratch.keys_);
    kernels.score(scratch.queries_, scratch.keys_, vectors, dim, scratch.scores_);
    kernels.soften(scratch.scores_, visible, count, group, layer.scale * kLog2E, scratch.weights_,
                   scratch.max_, scratch.sum_, scratch.decay_);
    kernels.pack_values(values, kv.dtype, dim, scratch.values_);
    kernels.accumulate(scratch.weights_, scratch.values_, scratch.decay_, vectors, dim,
                       scratch.out_);
  }

  for (int v = 0; v < vectors; ++v) {
    float* const out = scratch.out_ + v * stride;
    const float inverse = scratch.sum_[v] > 0 ? 1.0f / scratch.sum_[v] : 0.0f;
    for (int i = 0; i < dim; ++i) out[i] *= inverse;
    const size_t to = (first_row + static_cast<size_t>(v / group)) * row_elements + head_element +
                      static_cast<size_t>(v % group) * static_cast<size_t>(dim);
    convert_row(out, dim,
                {layer.out.f32 != nullptr ? layer.out.f32 + to : nullptr,
                 layer.out.bf16 != nullptr ? layer.out.bf16 + to : nullptr});
  }
}

}  // namespace diffulex::cpu
