// The CPU backend on a model of random weights, for benchmarks.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "backend/cpu/cpu_backend.h"
#include "random_model.h"

namespace diffulex_bench {

inline double seconds(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

struct CpuEngineConfig {
  diffulex::DType weights;
  int threads = 1;
  int deepest = 0;  // cached positions at most
};

class CpuEngine {
 public:
  static constexpr int kMaxRows = 512;

  // Borrows the model's numbers only during the call.
  CpuEngine(const RandomModel& model, const CpuEngineConfig& config);

  // One forward of `rows` rows on `depth` cached positions, with a greedy head on every row; the
  // first `store` rows go to the cache. logits: null or [rows, vocabulary].
  void run(int rows, int depth, int store, float* logits = nullptr);

  std::unique_ptr<diffulex::cpu::CpuBackend> backend;
  double pack_seconds = 0;

 private:
  std::vector<int32_t> pages_;
  flatbuffers::FlatBufferBuilder builder_;
  int vocabulary_;
};

}  // namespace diffulex_bench
