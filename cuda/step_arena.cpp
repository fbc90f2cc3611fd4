#include "cuda/step_arena.h"

#include <cstring>

namespace diffulex::cuda {
namespace {

constexpr size_t kAlignment = 16;

size_t aligned(size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

// Lays arrays behind each other, the same way on both sides.
class Packer {
 public:
  Packer(std::byte* host, std::byte* device) : host_(host), device_(device) {}

  // Room for `count` elements; *at: where the host writes them. Returns their place on the device.
  template <class T>
  const T* place(size_t count, T** at) {
    *at = reinterpret_cast<T*>(host_ + used_);
    const T* const there = reinterpret_cast<const T*>(device_ + used_);
    used_ += aligned(count * sizeof(T));
    return there;
  }
  template <class T>
  const T* copy(std::span<const T> data) {
    T* at = nullptr;
    const T* const there = place(data.size(), &at);
    if (!data.empty()) std::memcpy(at, data.data(), data.size_bytes());
    return there;
  }
  size_t used() const { return used_; }

 private:
  std::byte* host_;
  std::byte* device_;
  size_t used_ = 0;
};

// items: one per row at most.
size_t arena_bytes(size_t requests, size_t rows, size_t heads, size_t pages, size_t adjustments) {
  return aligned(requests * sizeof(RequestRow)) + 2 * aligned(rows * sizeof(int32_t)) +
         aligned(rows * sizeof(AttentionItem)) + aligned(heads * sizeof(int32_t)) +
         aligned(heads * sizeof(HeadInfo)) + aligned(requests * sizeof(CarryInfo)) +
         aligned(pages * sizeof(int32_t)) + aligned(adjustments * sizeof(decide::LogitAdjust));
}

}  // namespace

StepArena::StepArena(const BackendConfig& config) {
  const auto requests = static_cast<size_t>(config.max_requests);
  const size_t bytes = arena_bytes(requests, static_cast<size_t>(config.max_tokens),
                                   static_cast<size_t>(config.max_head_rows),
                                   requests * static_cast<size_t>(config.max_pages_per_request), 0);
  pinned_ = PinnedMemory(bytes);
  device_ = DeviceMemory(bytes);
}

StepView StepArena::upload(const Step& step, cudaStream_t stream) {
  const size_t bytes = arena_bytes(step.requests.size(), step.tokens.size(), step.head.size(),
                                   step.pages.size(), step.adjustments().size());
  if (bytes > device_.bytes()) {
    PinnedMemory pinned(2 * bytes);
    device_ = DeviceMemory(2 * bytes);
    pinned_ = std::move(pinned);
  }
  Packer pack(pinned_.as(), device_.as());
  StepView view;
  view.requests = pack.copy(step.requests);
  view.tokens = pack.copy(step.tokens);
  view.row_request = pack.copy(std::span<const int32_t>(step.row_request));
  view.head_source = pack.copy(std::span<const int32_t>(step.head_source));
  view.items = pack.copy(std::span<const AttentionItem>(step.items));
  view.pages = pack.copy(step.pages);
  view.adjust = pack.copy(step.adjustments());
  HeadInfo* head = nullptr;
  view.heads = pack.place(step.head.size(), &head);
  for (size_t r = 0, h = 0; r < step.requests.size(); ++r)
    for (uint32_t i = 0; i < step.requests[r].head_count; ++i, ++h)
      head[h] = {static_cast<int32_t>(r), step.head[h].position};
  CarryInfo* carry = nullptr;
  view.carries = pack.place(step.carried.size(), &carry);
  for (const CarriedRow& c : step.carried) *carry++ = {c.row, c.slot};
  view.request_count = static_cast<int32_t>(step.requests.size());
  view.rows = static_cast<int32_t>(step.tokens.size());
  view.head_count = static_cast<int32_t>(step.head.size());
  view.carry_count = static_cast<int32_t>(step.carried.size());
  view.item_count = static_cast<int32_t>(step.items.size());
  check(cudaMemcpyAsync(device_.as(), pinned_.as(), pack.used(), cudaMemcpyHostToDevice, stream),
        "the upload of a step");
  return view;
}

}  // namespace diffulex::cuda
