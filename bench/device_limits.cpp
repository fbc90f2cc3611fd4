#include "device_limits.h"

#include <algorithm>

#include "cuda/blas.h"
#include "numbers.h"

namespace diffulex_bench {
namespace {

using namespace diffulex;
using cuda::check;

constexpr int kRounds = 12, kCalls = 4;
constexpr size_t kBytes = size_t{1} << 30;  // of each of the two buffers
constexpr int64_t kProducts[][3] = {{8192, 8192, 8192}, {2048, 12288, 2048}, {8192, 12288, 2048}};

class Event {
 public:
  Event() { check(cudaEventCreate(&event_), "cudaEventCreate"); }
  ~Event() { (void)cudaEventDestroy(event_); }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  void record() { check(cudaEventRecord(event_, nullptr), "cudaEventRecord"); }
  double since(const Event& start) const {
    float ms = 0;
    check(cudaEventSynchronize(event_), "cudaEventSynchronize");
    check(cudaEventElapsedTime(&ms, start.event_, event_), "cudaEventElapsedTime");
    return ms;
  }

 private:
  cudaEvent_t event_ = nullptr;
};

// Of one call: the median of the rounds behind one that warms up. Several calls make a round, so
// that the way of the first launch to the device does not count.
template <class Work>
double milliseconds(Work&& work) {
  Event start, end;
  std::vector<double> times;
  for (int i = -1; i < kRounds; ++i) {
    start.record();
    for (int call = 0; call < kCalls; ++call) work();
    end.record();
    const double ms = end.since(start) / kCalls;
    if (i >= 0) times.push_back(ms);
  }
  return median(times);
}

void fill(const cuda::DeviceMemory& memory, std::span<const uint16_t> numbers) {
  const size_t piece = std::min(numbers.size_bytes(), kBytes);
  for (size_t at = 0; at < kBytes; at += piece)
    check(cudaMemcpy(memory.as() + at, numbers.data(), std::min(piece, kBytes - at),
                     cudaMemcpyHostToDevice),
          "cudaMemcpy");
}

}  // namespace

double DeviceLimits::operations_per_ms() const {
  double best = 0;
  for (const ProductRate& p : products) best = std::max(best, p.operations_per_ms);
  return best;
}

DeviceLimits measure_limits(std::span<const uint16_t> numbers) {
  const cuda::DeviceMemory a(kBytes), b(kBytes);
  fill(a, numbers);
  DeviceLimits limits;
  limits.bytes_per_ms =
      2.0 * double(kBytes) / milliseconds([&] {
        check(cudaMemcpyAsync(b.as(), a.as(), kBytes, cudaMemcpyDeviceToDevice, nullptr),
              "cudaMemcpyAsync");
      });
  cuda::Blas blas;
  for (const auto& [rows, n, k] : kProducts) {
    const cuda::Product product{a.as(), a.as() + kBytes / 2, b.as(),       rows, n,
                                k,      DType::kBF16,        DType::kBF16, false};
    const double ms = milliseconds([&] { blas.run(product, nullptr); });
    limits.products.push_back({rows, n, k, 2.0 * double(rows) * double(n) * double(k) / ms});
  }
  return limits;
}

// Matrices once, the head where somebody reads it; keys and values of the cached positions once.
Floor floor_of(const ModelShape& m, const StepWork& work, const DeviceLimits& limits) {
  constexpr double kElement = 2;  // bytes
  const double head = work.head_rows > 0 ? m.head_weights() : 0;
  const double cached = 2.0 * m.layers * m.kv_size() * double(work.context);
  const double products = 2 * (m.body_weights() * work.rows + m.head_weights() * work.head_rows);
  const double attention = 4.0 * m.layers * m.query_size() * double(work.keys);
  return {kElement * (m.body_weights() + head + cached) / limits.bytes_per_ms,
          (products + attention) / limits.operations_per_ms()};
}

}  // namespace diffulex_bench
