#include "cuda/step_arena.h"

#include <algorithm>
#include <cstring>

#include "backend/rounding.h"

namespace diffulex::cuda {
namespace {

constexpr size_t kAlignment = 16;

// The sizes of a step before they are rounded.
struct Sizes {
  int64_t rows, heads, carries, items;
  int64_t keys;  // of the request that has most
};

Sizes sizes_of(const Step& step) {
  Sizes sizes{static_cast<int64_t>(step.tokens.size()), static_cast<int64_t>(step.head.size()),
              static_cast<int64_t>(step.carried.size()), static_cast<int64_t>(step.items.size()),
              1};
  for (const RequestRow& row : step.requests)
    sizes.keys = std::max<int64_t>(sizes.keys, int64_t{row.context_len} + row.token_count);
  return sizes;
}

// Of steps behind this one, at most: whatever their windows will have become.
Sizes sizes_ahead(const Step& step, int32_t item_rows, int ahead) {
  Sizes sizes{0, 0, 0, 0, 1};
  for (const RequestRow& row : step.requests) {
    const int64_t b = row.blocks.block_size;
    const int64_t rows = decide::blocks_bound(row.blocks, row.window, ahead) * b;
    sizes.rows += rows;
    sizes.items += (rows + item_rows - 1) / item_rows;
    sizes.carries += row.blocks.shift;
    const int64_t end = row.window.left + (row.window.valid + int64_t{ahead}) * b;
    sizes.keys = std::max(sizes.keys, std::min(end, (row.window.limit + b - 1) / b * b));
  }
  sizes.heads = sizes.rows;
  return sizes;
}

// Where each array of a step begins, in bytes.
struct Layout {
  size_t counts, requests, tokens, row_request, head_source, heads, carries, items, pages, adjust;

  explicit Layout(const StepShape& s) {
    size_t at = 0;
    const auto place = [&](size_t* begin, size_t count, size_t size) {
      *begin = at;
      at += (count * size + kAlignment - 1) / kAlignment * kAlignment;
    };
    const auto of = [](int32_t n) { return static_cast<size_t>(n); };
    place(&counts, 1, sizeof(StepCounts));
    place(&requests, of(s.requests), sizeof(RequestRow));
    place(&tokens, of(s.rows), sizeof(int32_t));
    place(&row_request, of(s.rows), sizeof(int32_t));
    place(&head_source, of(s.heads), sizeof(int32_t));
    place(&heads, of(s.heads), sizeof(HeadInfo));
    place(&carries, of(s.carries), sizeof(CarryInfo));
    place(&items, of(s.items), sizeof(AttentionItem));
    place(&pages, of(s.pages), sizeof(int32_t));
    adjust = at;
  }
};

template <class T>
void copy(std::byte* to, std::span<const T> from) {
  if (!from.empty()) std::memcpy(to, from.data(), from.size_bytes());
}

}  // namespace

StepShape shape_of(const Step& step, const BackendConfig& config, int32_t item_rows,
                   int32_t max_items, int ahead) {
  const Sizes sizes = ahead > 0 ? sizes_ahead(step, item_rows, ahead) : sizes_of(step);
  StepShape shape;
  // Of all requests, whether they are sampled in this step or in one that follows it.
  shape.greedy = std::all_of(step.requests.begin(), step.requests.end(), [](const RequestRow& row) {
    return row.sampler.temperature <= 0 && row.adjust_count == 0;
  });
  shape.requests = rounded_size(static_cast<int64_t>(step.requests.size()), config.max_requests);
  shape.rows = rounded_size(sizes.rows, config.max_tokens);
  shape.heads = rounded_size(sizes.heads, config.max_head_rows);
  shape.carries = rounded_size(sizes.carries, config.max_requests);
  shape.items = rounded_size(sizes.items, max_items);
  shape.pages = rounded_size(std::max<int64_t>(static_cast<int64_t>(step.pages.size()), 1),
                             int64_t{config.max_requests} * config.max_pages_per_request);
  while (shape.max_keys < sizes.keys)
    shape.max_keys = shape.max_keys == 0 ? 1024 : shape.max_keys * 2;
  return shape;
}

StepArena::StepArena(const BackendConfig& config) {
  StepShape largest;
  largest.requests = largest.carries = config.max_requests;
  largest.rows = config.max_tokens;
  largest.items = config.max_tokens + config.max_requests;
  largest.heads = config.max_head_rows;
  largest.pages = config.max_requests * config.max_pages_per_request;
  const size_t bytes = Layout(largest).adjust;
  pinned_ = PinnedMemory(bytes);
  device_ = DeviceMemory(bytes);
}

StepView StepArena::place(const Step& step, const StepShape& shape) {
  const Layout at(shape);
  used_ = at.adjust + step.adjustments().size_bytes();
  if (used_ > device_.bytes()) {
    PinnedMemory pinned(2 * used_);
    device_ = DeviceMemory(2 * used_);
    pinned_ = std::move(pinned);
    ++generation_;
  }
  const std::byte* const base = device_.as();
  StepView view;
  view.counts = reinterpret_cast<const StepCounts*>(base + at.counts);
  view.requests = reinterpret_cast<const RequestRow*>(base + at.requests);
  view.tokens = reinterpret_cast<const int32_t*>(base + at.tokens);
  view.row_request = reinterpret_cast<const int32_t*>(base + at.row_request);
  view.head_source = reinterpret_cast<const int32_t*>(base + at.head_source);
  view.heads = reinterpret_cast<const HeadInfo*>(base + at.heads);
  view.carries = reinterpret_cast<const CarryInfo*>(base + at.carries);
  view.items = reinterpret_cast<const AttentionItem*>(base + at.items);
  view.pages = reinterpret_cast<const int32_t*>(base + at.pages);
  view.adjust = reinterpret_cast<const decide::LogitAdjust*>(base + at.adjust);
  view.shape = shape;
  return view;
}

void StepArena::pack(const Step& step, const StepView& view) {
  const Layout at(view.shape);
  std::byte* const base = pinned_.as();
  *reinterpret_cast<StepCounts*>(base + at.counts) = {
      static_cast<int32_t>(step.requests.size()), static_cast<int32_t>(step.tokens.size()),
      static_cast<int32_t>(step.head.size()), static_cast<int32_t>(step.carried.size())};
  copy(base + at.requests, step.requests);
  copy(base + at.tokens, step.tokens);
  copy(base + at.row_request, std::span<const int32_t>(step.row_request));
  copy(base + at.head_source, std::span<const int32_t>(step.head_source));
  copy(base + at.items, std::span<const AttentionItem>(step.items));
  auto* const item = reinterpret_cast<AttentionItem*>(base + at.items);
  std::fill(item + step.items.size(), item + view.shape.items, AttentionItem{0, 0, 0});
  copy(base + at.pages, step.pages);
  copy(base + at.adjust, step.adjustments());
  auto* head = reinterpret_cast<HeadInfo*>(base + at.heads);
  for (size_t r = 0, h = 0; r < step.requests.size(); ++r)
    for (uint32_t i = 0; i < step.requests[r].head_count; ++i, ++h)
      head[h] = {static_cast<int32_t>(r), step.head[h].position};
  auto* carry = reinterpret_cast<CarryInfo*>(base + at.carries);
  for (const CarriedRow& c : step.carried) *carry++ = {c.row, c.slot};
}

void StepArena::upload(cudaStream_t stream) const {
  check(cudaMemcpyAsync(device_.as(), pinned_.as(), used_, cudaMemcpyHostToDevice, stream),
        "the upload of a step");
}

}  // namespace diffulex::cuda
