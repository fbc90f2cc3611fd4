// The own products against sums in double precision, over random shapes; outputs are poisoned
// before, and what lies behind the rows of x is NaN. A row's bits must not depend on how many rows
// there are.
#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <random>
#include <vector>

#include "cuda/kernels/head.h"
#include "cuda/kernels/product.h"
#include "cuda/tensor_map.h"
#include "device_data.h"

namespace {

using namespace diffulex;
using cuda::check;
using cuda::DeviceMemory;
using gpu_test::down;
using gpu_test::random_values;
using gpu_test::up;

int failures = 0;
int multiprocessors = 0;

void expect(bool holds, const char* what, int rows, int n, int k) {
  if (holds) return;
  ++failures;
  std::printf("FAILED: %s, rows %d, n %d, k %d\n", what, rows, n, k);
}

__global__ void oracle_kernel(const __nv_bfloat16* x, const __nv_bfloat16* w, int rows, int n,
                              int k, double* y) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= static_cast<int64_t>(rows) * n) return;
  const __nv_bfloat16 *a = x + i / n * k, *b = w + i % n * k;
  double sum = 0;
  for (int j = 0; j < k; ++j) sum += double{__bfloat162float(a[j])} * __bfloat162float(b[j]);
  y[i] = sum;
}

constexpr int kBehind = 300;  // rows of NaN behind those of x

// One matrix and its inputs; products of any number of rows of them.
struct Case {
  int rows, n, k;
  DeviceMemory w, x;
  std::vector<double> exact;  // [rows, n]

  Case(int rows_, int n_, int k_, std::mt19937& rng) : rows(rows_), n(n_), k(k_) {
    w = up(random_values(size_t(n) * k, rng, 0.1f));
    auto inputs = random_values(size_t(rows) * k, rng, 1.0f);
    inputs.resize(size_t(rows + kBehind) * k, __float2bfloat16(NAN));
    x = up(inputs);
    const DeviceMemory y(size_t(rows) * n * sizeof(double));
    oracle_kernel<<<unsigned((int64_t(rows) * n + 127) / 128), 128>>>(
        x.as<__nv_bfloat16>(), w.as<__nv_bfloat16>(), rows, n, k, y.as<double>());
    check(cudaDeviceSynchronize(), "the oracle");
    exact = down<double>(y, size_t(rows) * n);
  }
  cuda::ProductArgs args(int count, bool halves, int splits) const {
    return {halves ? cuda::map_halves(w.as(), n / 2, k, cuda::kProductColumns)
                   : cuda::map_matrix(w.as(), n, k, cuda::kProductColumns),
            cuda::map_matrix(x.as(), rows + kBehind, k, cuda::product_box_rows(count)),
            count,
            halves ? n / 2 : n,
            k,
            splits,
            multiprocessors};
  }
};

double distance(const std::vector<double>& a, const std::vector<double>& b) {
  double diff = 0, norm = 0;
  for (size_t i = 0; i < a.size(); ++i) diff += (a[i] - b[i]) * (a[i] - b[i]), norm += b[i] * b[i];
  return std::sqrt(diff / norm);
}

std::vector<float> run_parts(const Case& c, int count, int splits) {
  const size_t part = size_t(count) * c.n;
  const DeviceMemory y(part * splits * sizeof(float));
  check(cudaMemset(y.as(), 0xFF, y.bytes()), "poison");
  check(cuda::launch_product(c.args(count, false, splits), y.as<float>(), nullptr), "launch");
  check(cudaDeviceSynchronize(), "product");
  const auto parts = down<float>(y, part * splits);
  std::vector<float> sum(part, 0);
  for (int s = 0; s < splits; ++s)
    for (size_t i = 0; i < part; ++i) sum[i] += parts[s * part + i];
  return sum;
}

void test_parts(const Case& c, int splits) {
  const std::vector<float> y = run_parts(c, c.rows, splits);
  const double error = distance({y.begin(), y.end()}, c.exact);
  expect(error < 1e-5, "the product equals the oracle", c.rows, c.n, c.k);
  for (const int fewer : {1, 16, 17, 33, 100, 128, 129}) {
    if (fewer >= c.rows) continue;
    const std::vector<float> some = run_parts(c, fewer, splits);
    expect(std::memcmp(some.data(), y.data(), some.size() * sizeof(float)) == 0,
           "a row does not depend on the number of rows", fewer, c.n, c.k);
  }
}

void test_activated(const Case& c) {
  const int half = c.n / 2;
  const DeviceMemory y(size_t(c.rows) * half * 2);
  check(cudaMemset(y.as(), 0xFF, y.bytes()), "poison");
  check(cuda::launch_activated_product(c.args(c.rows, true, 1), y.as(), nullptr), "launch");
  check(cudaDeviceSynchronize(), "product");
  const auto got = down<__nv_bfloat16>(y, size_t(c.rows) * half);
  std::vector<double> out(got.size()), want(got.size());
  for (int r = 0; r < c.rows; ++r)
    for (int i = 0; i < half; ++i) {
      const double gate = c.exact[size_t(r) * c.n + i], up = c.exact[size_t(r) * c.n + half + i];
      want[size_t(r) * half + i] = gate / (1 + std::exp(-gate)) * up;
      out[size_t(r) * half + i] = __bfloat162float(got[size_t(r) * half + i]);
    }
  expect(distance(out, want) < 4e-3, "the activated product equals the oracle", c.rows, c.n, c.k);
}

// All rows belong to one request, whose mask is the id 5; ids from `known` on do not exist. Of the
// rows that are launched for, `there` are in the step, behind `first` others.
void test_reduced(const Case& c, int there, int first) {
  const int known = c.n - c.n / 10, mask = 5;
  const int tiles = (c.n + cuda::kProductColumns - 1) / cuda::kProductColumns;
  RequestRow request{};
  request.blocks.mask_token = mask;
  const auto requests = up(std::vector<RequestRow>{request});
  const auto heads = up(std::vector<cuda::HeadInfo>(first + c.rows, {0, 0}));
  const auto counts = up(std::vector<cuda::StepCounts>{{1, first + c.rows, first + there, 0}});
  cuda::StepView step;
  step.requests = requests.as<RequestRow>();
  step.heads = heads.as<cuda::HeadInfo>();
  step.counts = counts.as<cuda::StepCounts>();
  const DeviceMemory out(size_t(c.rows) * tiles * sizeof(decide::TilePartial));
  check(cudaMemset(out.as(), 0xFF, out.bytes()), "poison");
  const cuda::HeadReduction head{out.as<decide::TilePartial>(), tiles, known, first};
  cuda::ProductArgs args = c.args(c.rows, false, 1);
  args.count = &step.counts->heads;
  args.first = first;
  check(cuda::launch_reduced_product(args, head, step, nullptr), "launch");
  check(cudaDeviceSynchronize(), "product");
  const auto got = down<decide::TilePartial>(out, size_t(c.rows) * tiles);
  bool good = true;
  for (int r = 0; r < there; ++r) {
    const decide::RowSums row = decide::sum_tiles(got.data() + size_t(r) * tiles, tiles);
    double best = -INFINITY, second = -INFINITY, sum = 0, weighted = 0;
    int argmax = -1;
    for (int i = 0; i < known; ++i) {
      const double logit = c.exact[size_t(r) * c.n + i];
      if (i == mask) continue;
      if (logit > best)
        second = best, best = logit, argmax = i;
      else if (logit > second)
        second = logit;
    }
    for (int i = 0; i < known; ++i) {
      const double below = c.exact[size_t(r) * c.n + i] - best;
      if (i != mask) sum += std::exp(below), weighted += std::exp(below) * below;
    }
    const double near = 1e-4 * (1 + std::fabs(best));
    good = good && (row.argmax == argmax || best - second < near) &&
           std::fabs(row.max - best) < near && std::fabs(row.second - second) < near &&
           std::fabs(row.sum - sum) < 1e-3 * sum &&
           std::fabs(row.weighted - weighted) < 1e-3 * (std::fabs(weighted) + sum);
  }
  expect(good, "the reduced head equals the oracle", c.rows, c.n, c.k);
  const auto* const bytes = reinterpret_cast<const uint8_t*>(got.data() + size_t(there) * tiles);
  const size_t behind = size_t(c.rows - there) * tiles * sizeof(decide::TilePartial);
  expect(std::all_of(bytes, bytes + behind, [](uint8_t b) { return b == 0xFF; }),
         "nothing is written behind the rows that are there", c.rows, c.n, c.k);
}

// One thread sums a row's tiles with the functions that every device asks.
__global__ void sum_in_turn(const decide::TilePartial* tiles, int count,
                            decide::SamplerParams sampler, decide::TilePartial* larger,
                            decide::Pick* pick) {
  int n = 0;
  for (int first = 0; first < count; first += cuda::kSmallTiles, ++n) {
    const decide::RowSums r =
        decide::sum_tiles(tiles + first, min(cuda::kSmallTiles, count - first));
    larger[n] = {r.max, r.argmax, r.sum, r.weighted, r.argmax, r.max, r.second};
  }
  *pick = decide::pick_from_tiles(larger, n, sampler, 0, 0);
}

// A warp's sums of tiles have the bits of one thread's. A tenth of the tiles has nothing that may
// be chosen, some share their largest logit.
void test_joined(int count, std::mt19937& rng) {
  std::uniform_real_distribution<float> logit(-20, 20), sum(1, 64);
  std::vector<decide::TilePartial> tiles(static_cast<size_t>(count));
  for (int t = 0; t < count; ++t) {
    const float max = rng() % 4 == 0 ? 7.5f : logit(rng);
    tiles[static_cast<size_t>(t)] = {max,       t * 64 + int(rng() % 64), sum(rng), -sum(rng), 0, 0,
                                     max - 0.5f};
    if (rng() % 10 == 0)
      tiles[static_cast<size_t>(t)] = {-INFINITY, -1, 0, 0, -1, -INFINITY, -INFINITY};
  }
  RequestRow request{};
  request.sampler = {0, 1, 0, decide::kWantEntropy | decide::kWantMargin, 0};
  request.sampler.rank = decide::kRankMargin;
  const auto on_device = up(tiles);
  const auto requests = up(std::vector<RequestRow>{request});
  const auto heads = up(std::vector<cuda::HeadInfo>{{0, 0}});
  const auto counts = up(std::vector<cuda::StepCounts>{{1, 1, 1, 0}});
  cuda::StepView step;
  step.counts = counts.as<cuda::StepCounts>();
  step.requests = requests.as<RequestRow>();
  step.heads = heads.as<cuda::HeadInfo>();
  const DeviceMemory larger(static_cast<size_t>(count) * sizeof(decide::TilePartial)),
      picks(2 * sizeof(decide::Pick));
  const cuda::HeadReduction head{on_device.as<decide::TilePartial>(), count, count * 64, 0};
  check(cuda::launch_pick_reduced(head, 1, step, picks.as<decide::Pick>(), nullptr), "launch");
  sum_in_turn<<<1, 1>>>(on_device.as<decide::TilePartial>(), count, request.sampler,
                        larger.as<decide::TilePartial>(), picks.as<decide::Pick>() + 1);
  const auto got = down<decide::Pick>(picks, 2);
  expect(std::memcmp(&got[0], &got[1], sizeof(decide::Pick)) == 0,
         "sums of tiles are those of one thread, bit for bit", 1, count, 0);
}

}  // namespace

int main() {
  int devices = 0;
  if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0 || !cuda::has_copy_engine(0)) {
    std::printf("no CUDA device with a copy engine: nothing was tested\n");
    return 77;
  }
  check(cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, 0), "size");
  std::mt19937 rng(1);
  int cases = 0;
  for (const int rows : {1, 7, 16, 29, 32, 50, 64, 65, 127, 128, 129, 256, 300, 513})
    for (const auto& [n, k] : {std::pair{64, 128}, {192, 384}, {1040, 1024}, {2048, 2048}}) {
      const Case c(rows, n, k, rng);
      for (const int splits : {1, 2, 3})
        if (k / 128 >= splits) test_parts(c, splits);
      test_activated(c);
      test_reduced(c, c.rows, 0);
      test_reduced(c, (c.rows + 1) / 2, 3);
      ++cases;
    }
  for (const auto& [n, k] : {std::pair{192, 384}, {1280, 128}}) {  // more rows than a band has
    const Case c(2305, n, k, rng);
    test_parts(c, 1);
    test_activated(c);
    test_reduced(c, 2300, 1);
    ++cases;
  }
  for (const int count : {1, 3, 4, 5, 31, 33, 500, 2374, 2375, 6000}) test_joined(count, rng);
  std::printf("products: %d cases, %d failures\n", cases, failures);
  return failures == 0 ? 0 : 1;
}
