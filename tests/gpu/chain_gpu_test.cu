// The step behind a step as a device makes it, against the same functions in a loop on the host:
// rows, counts and every list, over random windows, some of requests that have finished.
#include <cuda_runtime.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <random>
#include <vector>

#include "backend/chain.h"
#include "cuda/kernels/chain.h"

namespace {

using namespace diffulex;

constexpr int kMask = 999, kItemRows = 6;

template <class T>
struct Mirror {  // the same array on both sides
  explicit Mirror(size_t count) : host(count) { cudaMalloc(&device, count * sizeof(T)); }
  ~Mirror() { cudaFree(device); }
  void up() { cudaMemcpy(device, host.data(), host.size() * sizeof(T), cudaMemcpyHostToDevice); }
  // Whether the first n elements of the device's are `expected`.
  bool equals(const std::vector<T>& expected, const char* what) const {
    std::vector<T> out(expected.size());
    if (!out.empty())
      cudaMemcpy(out.data(), device, out.size() * sizeof(T), cudaMemcpyDeviceToHost);
    const bool same =
        out.empty() || std::memcmp(out.data(), expected.data(), out.size() * sizeof(T)) == 0;
    if (!same) std::printf("%s differ\n", what);
    return same;
  }
  std::vector<T> host;
  T* device = nullptr;
};

// What the host would have spelt out.
struct Lists {
  std::vector<RequestRow> requests;
  std::vector<cuda::StepCounts> counts;
  std::vector<int32_t> tokens, row_request, head_source;
  std::vector<cuda::HeadInfo> heads;
  std::vector<cuda::CarryInfo> carries;
  std::vector<AttentionItem> items;

  void add(RequestRow row, const decide::Window& after, const int32_t* window) {
    const auto r = static_cast<int32_t>(requests.size());
    row.window = after;
    follow(row);
    row.first_token = static_cast<uint32_t>(tokens.size());
    row.head_begin = static_cast<uint32_t>(head_source.size());
    const auto count = static_cast<int32_t>(row.token_count);
    tokens.insert(tokens.end(), window, window + count);
    row_request.insert(row_request.end(), row.token_count, r);
    std::vector<int32_t> rows(row.head_count);
    write_head_rows(row, window, rows.data());
    for (const int32_t at : rows) {
      const int32_t in_request =
          at == kCarriedRow ? -1 : at - static_cast<int32_t>(row.first_token);
      head_source.push_back(at == kCarriedRow ? ~static_cast<int32_t>(row.slot) : at);
      heads.push_back({r, row.context_len + in_request + row.blocks.shift});
    }
    if (row.carry_row >= 0)
      carries.push_back(
          {static_cast<int32_t>(row.first_token) + row.carry_row, static_cast<int32_t>(row.slot)});
    for (int32_t first = 0; first < count; first += kItemRows)
      items.push_back({r, first, std::min(kItemRows, count - first)});
    requests.push_back(row);
  }
  void end(size_t item_shape) {
    counts = {{static_cast<int32_t>(requests.size()), static_cast<int32_t>(tokens.size()),
               static_cast<int32_t>(heads.size()), static_cast<int32_t>(carries.size())}};
    items.resize(item_shape);
  }
};

decide::Window random_window(const decide::MultiBlockParams& p, int32_t* tokens,
                             std::mt19937& rng) {
  const int b = p.block_size;
  decide::Window w{};
  w.left = b * static_cast<int>(1 + rng() % 5);
  w.prompt_len = w.committed_end = w.left;
  w.limit = w.left + 1 + static_cast<int>(rng() % 200);
  w.first_stop = w.stop_index = -1;
  w.finish = rng() % 5 == 0 ? decide::kEos : decide::kRunning;
  w.valid = static_cast<int>(rng() % static_cast<unsigned>(p.buffer_blocks + 1));
  int status = decide::kToCache;
  for (int i = 0; i < p.buffer_blocks; ++i) {
    decide::BlockState& block = w.blocks[i];
    if (status == decide::kToCache && rng() % 2 == 0) status = decide::kActive;
    block.status = static_cast<uint8_t>(i < w.valid ? status : decide::kDummy);
    block.editable_start =
        static_cast<uint16_t>(i == 0 && block.status == decide::kActive ? rng() % 3 : 0);
    for (int offset = 0; offset < b; ++offset) {
      const bool masked =
          block.status == decide::kDummy ||
          (block.status == decide::kActive && offset >= block.editable_start && rng() % 2 == 0);
      tokens[i * b + offset] = masked ? kMask : static_cast<int>(rng() % 500);
      block.masks = static_cast<uint16_t>(
          block.masks + (masked && offset < decide::counted_positions(p, w, i) ? 1 : 0));
    }
  }
  return w;
}

bool run(int count, int block, int buffer, int shift, std::mt19937& rng) {
  const int stride = block * buffer;
  const size_t all = static_cast<size_t>(count) * static_cast<size_t>(stride);
  Mirror<RequestRow> requests(static_cast<size_t>(count));
  Mirror<decide::Window> windows(static_cast<size_t>(count));
  Mirror<int32_t> window_tokens(all), tokens(all), row_request(all), head_source(all);
  Mirror<cuda::HeadInfo> heads(all);
  Mirror<cuda::CarryInfo> carries(static_cast<size_t>(count));
  Mirror<AttentionItem> items(all);
  Mirror<cuda::StepCounts> counts(1);
  Mirror<cuda::ChainBegin> begins(static_cast<size_t>(count));
  Lists expected;
  for (int r = 0; r < count; ++r) {
    RequestRow& row = requests.host[static_cast<size_t>(r)];
    row = {};
    row.slot = static_cast<uint32_t>(count - 1 - r);
    row.page_count = 3;
    row.blocks = {block, buffer, kMask, 1, block - 1, 0.5f, 0, 1, 1, {77}};
    row.blocks.shift = shift;
    int32_t* const window = window_tokens.host.data() + static_cast<size_t>(r * stride);
    windows.host[static_cast<size_t>(r)] = random_window(row.blocks, window, rng);
    expected.add(row, windows.host[static_cast<size_t>(r)], window);
  }
  expected.end(all);
  counts.host[0] = {count, 1, 2, 3};
  requests.up(), windows.up(), window_tokens.up(), counts.up();
  cuda::StepView step;
  step.counts = counts.device;
  step.requests = requests.device;
  step.tokens = tokens.device;
  step.row_request = row_request.device;
  step.head_source = head_source.device;
  step.heads = heads.device;
  step.carries = carries.device;
  step.items = items.device;
  step.shape.requests = count + 3;
  step.shape.items = static_cast<int32_t>(all);
  const cuda::ChainArgs args{windows.device, window_tokens.device, stride, kItemRows,
                             begins.device};
  if (cuda::launch_chain(args, step, nullptr) != 0 || cudaDeviceSynchronize() != cudaSuccess) {
    std::printf("the kernel failed: %s\n", cudaGetErrorString(cudaGetLastError()));
    return false;
  }
  return requests.equals(expected.requests, "requests") &&
         counts.equals(expected.counts, "counts") && tokens.equals(expected.tokens, "tokens") &&
         row_request.equals(expected.row_request, "requests of rows") &&
         head_source.equals(expected.head_source, "head rows") &&
         heads.equals(expected.heads, "heads") &&
         carries.equals(expected.carries, "carried rows") &&
         items.equals(expected.items, "attention items");
}

}  // namespace

int main() {
  int devices = 0;
  if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
    std::printf("no CUDA device: nothing was tested\n");
    return 77;
  }
  std::mt19937 rng(1);
  int cases = 0;
  for (const int count : {1, 2, 31, 32, 33, 128, 1000, 1024, 1025, 3000})
    for (const int block : {4, 8, 32})
      for (const int buffer : {1, 2, 5})
        for (const int shift : {0, 1}) {
          if (!run(count, block, buffer, shift, rng)) {
            std::printf("%d requests, %d blocks of %d, shift %d: host and device disagree\n", count,
                        buffer, block, shift);
            return 1;
          }
          ++cases;
        }
  std::printf("%d steps: host and device agree\n", cases);
  return 0;
}
