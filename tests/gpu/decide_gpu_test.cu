// The decision functions on the device against the same functions on the host, over random requests
// and many steps.
#include <cuda_runtime.h>

#include <cstdio>
#include <cstring>
#include <random>
#include <vector>

#include "cuda/decide_body.h"

namespace {

using namespace diffulex;

template <class T>
struct Mirror {  // the same array on both sides
  explicit Mirror(size_t count) : host(count) { cudaMalloc(&device, count * sizeof(T)); }
  ~Mirror() { cudaFree(device); }
  void up() { cudaMemcpy(device, host.data(), host.size() * sizeof(T), cudaMemcpyHostToDevice); }
  std::vector<T> down() const {
    std::vector<T> out(host.size());
    cudaMemcpy(out.data(), device, out.size() * sizeof(T), cudaMemcpyDeviceToHost);
    return out;
  }
  std::vector<T> host;
  T* device = nullptr;
};

template <class T>
bool same(const Mirror<T>& m) {
  const std::vector<T> device = m.down();
  return std::memcmp(device.data(), m.host.data(), device.size() * sizeof(T)) == 0;
}

}  // namespace

int main() {
  constexpr int kCount = 257, kBlock = 8, kBuffer = 4, kStride = kBlock * kBuffer, kTiles = 3,
                kSteps = 60, kMask = 999;
  int devices = 0;
  if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
    std::printf("no CUDA device: nothing was tested\n");
    return 77;
  }
  std::mt19937 rng(1);
  Mirror<decide::MultiBlockParams> params(kCount);
  Mirror<decide::Window> windows(kCount);
  Mirror<int32_t> tokens(kCount * kStride);
  Mirror<decide::TilePartial> partials(size_t{kCount} * kStride * kTiles);
  Mirror<decide::SamplerParams> samplers(kCount);
  Mirror<decide::Pick> picks(kCount * kStride);
  Mirror<decide::AttentionRule> rules(kCount);
  Mirror<decide::KeyRange> ranges(kCount);
  Mirror<float> draws(kCount);
  for (int i = 0; i < kCount; ++i) {
    decide::MultiBlockParams& p = params.host[i];
    p = {kBlock, kBuffer, kMask, 1, 7, 0.5f, 0, 1, 1, {77}};
    decide::Window& w = windows.host[i];
    w = {};
    w.left = kBlock * static_cast<int>(rng() % 5);
    w.prompt_len = w.committed_end = w.left;
    w.limit = w.left + 1 + static_cast<int>(rng() % 200);
    w.limit_reason = decide::kMaxTokens;
    w.first_stop = w.stop_index = -1;
    for (int s = 0; s < kBuffer; ++s)
      w.blocks[s].masks = static_cast<uint16_t>(decide::counted_positions(p, w, s));
    samplers.host[i] = {0, 1, 0, decide::kWantMargin, rng()};
    samplers.host[i].rank = i % 2 == 0 ? decide::kRankProbability : decide::kRankMargin;
    rules.host[i] = {static_cast<int>(rng() % 5), kBlock, 20, 24, 1};
    for (int t = 0; t < kStride; ++t) tokens.host[i * kStride + t] = kMask;
  }
  params.up(), windows.up(), tokens.up(), samplers.up(), rules.up(), picks.up(), ranges.up(),
      draws.up();
  const cuda::DecideBatch on_device{kCount,         kStride,       kTiles,          params.device,
                                    windows.device, tokens.device, partials.device, samplers.device,
                                    picks.device,   rules.device,  ranges.device,   draws.device};
  const cuda::DecideBatch on_host{kCount,
                                  kStride,
                                  kTiles,
                                  params.host.data(),
                                  windows.host.data(),
                                  tokens.host.data(),
                                  partials.host.data(),
                                  samplers.host.data(),
                                  picks.host.data(),
                                  rules.host.data(),
                                  ranges.host.data(),
                                  draws.host.data()};
  for (int step = 0; step < kSteps; ++step) {
    // Powers of two: sums and their quotients are exact, so that the two sides may be compared bit
    // by bit.
    for (decide::TilePartial& t : partials.host)
      t = {0.0f, static_cast<int>(rng() % 100),    static_cast<float>(1 << (rng() % 2)), 0, 0,
           0,    rng() % 2 == 0 ? 0.0f : -INFINITY};
    partials.up();
    if (cuda::launch_decide(on_device) != 0 || cudaDeviceSynchronize() != cudaSuccess) {
      std::printf("the kernel failed: %s\n", cudaGetErrorString(cudaGetLastError()));
      return 1;
    }
    for (int i = 0; i < kCount; ++i) cuda::decide_one(on_host, i);
    if (!same(windows) || !same(tokens) || !same(ranges) || !same(draws)) {
      std::printf("host and device disagree at step %d\n", step);
      return 1;
    }
  }
  std::printf("%d requests, %d steps: host and device agree\n", kCount, kSteps);
  return 0;
}
