// The QKV product that rotates and stores its heads against the product and the rotation one after
// another: the same bits everywhere, with poisoned outputs.
#include <cstdio>
#include <cstring>
#include <random>
#include <vector>

#include "cuda/kernels/body.h"
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

constexpr int kDim = 128, kPageSize = 16, kPagesOfRequest = 160;

std::vector<float> random_floats(size_t count, std::mt19937& rng) {
  std::normal_distribution<float> normal(1, 0.3f);
  std::vector<float> values(count);
  for (float& v : values) v = normal(rng);
  return values;
}

// Where the heads go.
struct Outputs {
  DeviceMemory queries, flight_keys, flight_values, page_keys, page_values;

  Outputs(int rows, int heads, int kv_heads, int pages)
      : queries(size_t(rows) * heads * kDim * 2),
        flight_keys(size_t(rows) * kv_heads * kDim * 2),
        flight_values(flight_keys.bytes()),
        page_keys(size_t(pages) * kv_heads * kPageSize * kDim * 2),
        page_values(page_keys.bytes()) {
    for (const DeviceMemory* m : all()) check(cudaMemset(m->as(), 0xFF, m->bytes()), "poison");
  }
  std::vector<const DeviceMemory*> all() const {
    return {&queries, &flight_keys, &flight_values, &page_keys, &page_values};
  }
  cuda::KeyValues kv(int rows, int kv_heads) const {
    return {DType::kBF16,
            kv_heads,
            kDim,
            kPageSize,
            rows,
            page_keys.as(),
            page_values.as(),
            flight_keys.as(),
            flight_values.as()};
  }
};

// Requests of different sizes, some of whose rows are stored; `there` rows in all.
struct Step {
  DeviceMemory requests, row_request, counts, tables;
  cuda::StepView view;
  int pages = 0;

  Step(int rows, int there, std::mt19937& rng) {
    std::vector<RequestRow> list;
    std::vector<int32_t> of_row(static_cast<size_t>(rows), 0), table;
    for (int first = 0; first < there; first += static_cast<int>(list.back().token_count)) {
      RequestRow request{};
      request.first_token = static_cast<uint32_t>(first);
      request.token_count = static_cast<uint32_t>(std::min<int>(there - first, 1 + rng() % 400));
      request.context_len = static_cast<int32_t>(rng() % 1000);
      request.store_len = static_cast<int32_t>(rng() % (request.token_count + 1));
      request.slot = static_cast<decltype(request.slot)>(list.size());
      for (uint32_t i = 0; i < request.token_count; ++i)
        of_row[first + i] = static_cast<int32_t>(list.size());
      list.push_back(request);
      for (int i = 0; i < kPagesOfRequest; ++i) table.push_back(pages++);
    }
    requests = up(list), row_request = up(of_row), tables = up(table);
    counts = up(std::vector<cuda::StepCounts>{{static_cast<int32_t>(list.size()), there, 0, 0}});
    view.requests = requests.as<RequestRow>();
    view.row_request = row_request.as<int32_t>();
    view.counts = counts.as<cuda::StepCounts>();
    view.shape.rows = rows;
  }
};

int failures = 0;

void compare(int rows, int there, int heads, int kv_heads, bool bias, std::mt19937& rng) {
  const int hidden = 384, all = heads + 2 * kv_heads, n = all * kDim;
  int multiprocessors = 0;
  check(cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, 0), "size");
  const DeviceMemory w = up(random_values(size_t(n) * hidden, rng, 0.1f)),
                     x = up(random_values(size_t(rows) * hidden, rng, 1)),
                     q_norm = up(random_floats(kDim, rng)), k_norm = up(random_floats(kDim, rng)),
                     biases = up(random_floats(size_t(n), rng)), sums(size_t(rows) * n * 4),
                     qkv(size_t(rows) * n * 2), angles(size_t(2048) * kDim * 4);
  check(cuda::launch_angles(angles.as<float>(), 2048, kDim, 1e4f, nullptr), "angles");
  const Step step(rows, there, rng);
  const Outputs apart(rows, heads, kv_heads, step.pages), fused(rows, heads, kv_heads, step.pages);
  const cuda::ProductArgs product{
      cuda::map_matrix(w.as(), n, hidden, cuda::kProductColumns),
      cuda::map_matrix(x.as(), rows, hidden, cuda::product_box_rows(rows)),
      rows,
      n,
      hidden,
      1,
      multiprocessors};
  cuda::RopeArgs rope{qkv.as(),
                      {},
                      bias ? biases.as<float>() : nullptr,
                      q_norm.as<float>(),
                      k_norm.as<float>(),
                      1e-6f,
                      angles.as<float>(),
                      heads,
                      apart.kv(rows, kv_heads),
                      step.tables.as<int32_t>(),
                      kPagesOfRequest,
                      apart.queries.as()};
  check(cuda::launch_product(product, sums.as<float>(), nullptr), "product");
  check(cuda::launch_convert(sums.as(), DType::kF32, qkv.as(), DType::kBF16, int64_t{rows} * n,
                             nullptr),
        "rounding");
  check(cuda::launch_rope(rope, step.view, nullptr), "rotation");
  rope.qkv = nullptr, rope.kv = fused.kv(rows, kv_heads), rope.queries = fused.queries.as();
  check(cuda::launch_rotated_product(product, rope, step.view, nullptr), "rotated product");
  check(cudaDeviceSynchronize(), "rotated product");
  const char* const names[] = {"queries", "keys in flight", "values in flight", "keys in pages",
                               "values in pages"};
  for (size_t i = 0; i < apart.all().size(); ++i) {
    const auto a = down<uint16_t>(*apart.all()[i], apart.all()[i]->bytes() / 2);
    const auto b = down<uint16_t>(*fused.all()[i], a.size());
    size_t different = 0;
    for (size_t j = 0; j < a.size(); ++j) different += a[j] != b[j] ? 1 : 0;
    if (different == 0) continue;
    ++failures;
    std::printf("FAILED: %zu of %zu elements of %s differ; rows %d of %d, heads %d and %d\n",
                different, a.size(), names[i], there, rows, heads, kv_heads);
  }
}

}  // namespace

int main() {
  int devices = 0;
  if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0 || !cuda::has_copy_engine(0)) {
    std::printf("no CUDA device with a copy engine: nothing was tested\n");
    return 77;
  }
  std::mt19937 rng(1);
  int cases = 0;
  for (const auto& [rows, there] : {std::pair{129, 129}, {300, 211}, {2048, 2048}, {2305, 2300}})
    for (const auto& [heads, kv_heads] : {std::pair{6, 2}, {3, 1}, {4, 4}})
      for (const bool bias : {false, true}) {
        compare(rows, there, heads, kv_heads, bias, rng);
        ++cases;
      }
  std::printf("rotated products: %d cases, %d failures\n", cases, failures);
  return failures == 0 ? 0 : 1;
}
