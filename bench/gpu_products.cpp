// The own products of few rows beside cuBLASLt's, over the matrices of real models.
//
//   diffulex_bench_products [MATRIX ROWS]
//
// Microseconds of one product in a recorded chain of products over rotating matrices (more bytes
// than the L2 cache holds), and the rate at which weights are read.
#include <cuda_bf16.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>
#include <vector>

#include "cuda/blas.h"
#include "cuda/kernels/product.h"
#include "cuda/memory.h"
#include "cuda/tensor_map.h"

namespace {

using namespace diffulex;
using cuda::check;

constexpr size_t kPool = size_t{1} << 30;  // bytes of weights
constexpr int kChain = 40;

struct Matrix {
  const char* name;
  int n, k;
  bool activated;
};
constexpr Matrix kMatrices[] = {
    {"1.7b qkv", 4096, 2048, false},     {"1.7b output", 2048, 2048, false},
    {"1.7b gate+up", 12288, 2048, true}, {"1.7b down", 2048, 6144, false},
    {"8b qkv", 6144, 4096, false},       {"8b output", 4096, 4096, false},
    {"8b gate+up", 24576, 4096, true},   {"8b down", 4096, 12288, false},
    {"1.7b head", 151936, 2048, false}};

class Bench {
 public:
  Bench() : weights_(kPool), x_(size_t{16384} * 12288 * 2), y_(size_t{4} << 30) {
    check(cudaStreamCreate(&stream_), "stream");
    std::vector<uint16_t> random(kPool / 2);
    uint64_t state = 1;
    for (uint16_t& v : random) {
      state = state * 6364136223846793005u + 1442695040888963407u;
      v = static_cast<uint16_t>((state >> 63 << 15) | (0x3C00 + (state >> 40 & 0xFF)));
    }
    check(cudaMemcpy(weights_.as(), random.data(), kPool, cudaMemcpyHostToDevice), "copy");
    check(cudaMemcpy(x_.as(), random.data(), x_.bytes(), cudaMemcpyHostToDevice), "copy");
    cudaDeviceProp properties{};
    check(cudaGetDeviceProperties(&properties, 0), "properties");
    multiprocessors_ = properties.multiProcessorCount;
  }

  // Microseconds of `launch(i)`, in a chain of kChain.
  template <class Launch>
  double time(Launch&& launch) {
    for (int i = 0; i < 3; ++i) launch(i);
    check(cudaStreamSynchronize(stream_), "warm-up");
    cudaGraph_t graph = nullptr;
    cudaGraphExec_t chain = nullptr;
    check(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal), "capture");
    for (int i = 0; i < kChain; ++i) launch(i);
    check(cudaStreamEndCapture(stream_, &graph), "capture");
    check(cudaGraphInstantiate(&chain, graph, 0), "graph");
    cudaEvent_t begin = nullptr, end = nullptr;
    check(cudaEventCreate(&begin), "event");
    check(cudaEventCreate(&end), "event");
    std::vector<float> times;
    for (int i = 0; i < 12; ++i) {
      check(cudaEventRecord(begin, stream_), "event");
      check(cudaGraphLaunch(chain, stream_), "graph");
      check(cudaEventRecord(end, stream_), "event");
      check(cudaStreamSynchronize(stream_), "chain");
      float ms = 0;
      check(cudaEventElapsedTime(&ms, begin, end), "event");
      times.push_back(ms);
    }
    std::sort(times.begin(), times.end());
    (void)cudaGraphExecDestroy(chain);
    (void)cudaGraphDestroy(graph);
    return times[times.size() / 2] * 1e3 / kChain;
  }

  void compare(const Matrix& m, int rows) {
    const size_t bytes = static_cast<size_t>(m.n) * static_cast<size_t>(m.k) * 2;
    const size_t copies = std::max<size_t>(1, kPool / bytes);
    const auto at = [&](int i) { return weights_.as() + static_cast<size_t>(i) % copies * bytes; };
    const double library = time([&](int i) {
      blas_.run({x_.as(), at(i), y_.as(), rows, m.n, m.k, DType::kBF16, DType::kBF16, false},
                stream_);
    });
    const int splits = m.activated ? 1 : cuda::product_splits(m.n, m.k, multiprocessors_);
    const CUtensorMap x = cuda::map_matrix(x_.as(), 16384, m.k, cuda::product_box_rows(rows));
    const double own = time([&](int i) {
      if (m.activated)
        check(cuda::launch_activated_product(
                  {cuda::map_halves(at(i), m.n / 2, m.k, cuda::kProductColumns), x, rows, m.n / 2,
                   m.k, 1, multiprocessors_},
                  y_.as(), stream_),
              "launch");
      else
        check(cuda::launch_product({cuda::map_matrix(at(i), m.n, m.k, cuda::kProductColumns), x,
                                    rows, m.n, m.k, splits, multiprocessors_},
                                   y_.as<float>(), stream_),
              "launch");
    });
    const double flops = 2.0 * rows * m.n * m.k;
    std::printf("%-14s %5d %9.2f %7.0f %6.0f %9.2f %7.0f %6.0f %6d\n", m.name, rows, library,
                static_cast<double>(bytes) / library * 1e-3, flops / library * 1e-6, own,
                static_cast<double>(bytes) / own * 1e-3, flops / own * 1e-6, splits);
    std::fflush(stdout);
  }

 private:
  cuda::Blas blas_;
  cuda::DeviceMemory weights_, x_, y_;
  cudaStream_t stream_ = nullptr;
  int multiprocessors_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  try {
    Bench bench;
    std::printf("%-14s %5s %9s %7s %6s %9s %7s %6s %6s\n", "matrix", "rows", "cublas us", "GB/s",
                "TFLOPs", "own us", "GB/s", "TFLOPs", "splits");
    for (const Matrix& m : kMatrices)
      for (const int rows : {16, 32, 64, 128, 512, 2048, 8192}) {
        const bool asked =
            argc < 3 || (m.name == std::string(argv[1]) && rows == std::atoi(argv[2]));
        if (asked && (m.n < 100000 || rows <= 512)) bench.compare(m, rows);
      }
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  return 0;
}
