// What a step of the whole engine costs on a CUDA device, beside the floors of the same card in the
// same run.
//
//   diffulex_bench_gpu [shape ...] [--steps N]
//
// Shapes: 0.6b, 1.7b, 8b (random bf16 weights). A step is schedule, plan, upload, forward, head,
// selection, decisions and results on the host; times are medians of the host's clock over steps in
// which every request has its full window in flight. Floors: bytes that must be read over the
// measured copy rate, operations over the measured rate of a large product; the larger counts.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "backend/devices.h"
#include "cuda/blas.h"
#include "cuda/cuda_backend.h"
#include "engine/request_record.h"
#include "strategy/strategy.h"

namespace {

using namespace diffulex;
using Clock = std::chrono::steady_clock;

struct Shape {
  const char* name;
  int hidden, layers, heads, kv_heads, dim, mlp, vocabulary;
};
constexpr Shape kShapes[] = {{"0.6b", 1024, 28, 16, 8, 128, 3072, 32000},
                             {"1.7b", 2048, 28, 16, 8, 128, 6144, 151936},
                             {"8b", 4096, 36, 32, 8, 128, 12288, 151936}};
struct Case {
  int block, buffer, requests;
};
constexpr Case kCases[] = {{32, 1, 1},  {4, 4, 1},   {32, 4, 1},
                           {32, 4, 16}, {32, 4, 32}, {32, 4, 64}};
constexpr int kPrompt = 256;
constexpr int kOutput = 512;

double median(std::vector<double> v) {
  std::sort(v.begin(), v.end());
  return v.empty() ? 0 : v[v.size() / 2];
}

template <class Work>
double milliseconds(Work&& work) {
  const auto start = Clock::now();
  work();
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

struct Limits {
  double bytes_per_ms = 0, operations_per_ms = 0;
};

std::vector<uint16_t> random_bf16(size_t count) {  // +-[2^-7, 2^-5)
  std::vector<uint16_t> random(count);
  uint64_t state = 1;
  for (uint16_t& x : random) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    x = static_cast<uint16_t>((state >> 63 << 15) | (0x3C00 + (state >> 40 & 0xFF)));
  }
  return random;
}

// A large copy, bytes read and written; a large product of random numbers (zeros would be faster).
Limits measure_limits() {
  constexpr size_t kBytes = size_t{1} << 30;
  constexpr int64_t kSize = 8192;
  const cuda::DeviceMemory a(kBytes), b(kBytes);
  cuda::Blas blas;
  const std::vector<uint16_t> random = random_bf16(kBytes / 2);
  cuda::check(cudaMemcpy(a.as(), random.data(), kBytes, cudaMemcpyHostToDevice), "copy");
  std::vector<double> copies, products;
  for (int i = 0; i < 12; ++i) {
    copies.push_back(milliseconds([&] {
      cuda::check(cudaMemcpyAsync(b.as(), a.as(), kBytes, cudaMemcpyDeviceToDevice, nullptr),
                  "copy");
      cuda::check(cudaStreamSynchronize(nullptr), "copy");
    }));
    const cuda::Product product{a.as(), a.as() + kBytes / 2, b.as(),       kSize, kSize,
                                kSize,  DType::kBF16,        DType::kBF16, false};
    products.push_back(milliseconds([&] {
      blas.run(product, nullptr);
      cuda::check(cudaStreamSynchronize(nullptr), "product");
    }));
  }
  return {2.0 * static_cast<double>(kBytes) / median(copies),
          2.0 * kSize * kSize * kSize / median(products)};
}

// A model of random weights; every matrix of the file is a view of the same numbers.
struct Model {
  ArchSpec arch;
  ModelWeights weights;
  std::vector<uint16_t> random;
  double matrix_bytes = 0;  // read in every step
  double operations_per_row = 0;

  explicit Model(const Shape& s) {
    arch.family = "sdar";
    arch.vocab_size = arch.token_count = s.vocabulary;
    arch.hidden_size = s.hidden;
    arch.heads = s.heads;
    arch.layers.assign(static_cast<size_t>(s.layers), {s.kv_heads, s.dim, s.mlp, 0, 1e6f});
    arch.attention_scale = 1.0f / std::sqrt(static_cast<float>(s.dim));
    arch.qk_norm = true;
    arch.tied_embeddings = true;
    arch.max_positions = kPrompt + kOutput;
    arch.mask_token = s.vocabulary - 1;
    arch.accept_threshold = 1;  // one token in a step: windows stay full
    random = random_bf16(static_cast<size_t>(std::max(s.vocabulary, s.mlp)) *
                         static_cast<size_t>(s.hidden));
    const int64_t q = s.heads * s.dim, kv = s.kv_heads * s.dim;
    LayerWeights layer;
    layer.input_norm = layer.post_norm = view(s.hidden, 1);
    layer.q_norm = layer.k_norm = view(s.dim, 1);
    layer.q = view(q, s.hidden);
    layer.k = layer.v = view(kv, s.hidden);
    layer.o = view(s.hidden, q);
    layer.gate = layer.up = view(s.mlp, s.hidden);
    layer.down = view(s.hidden, s.mlp);
    weights.layers.assign(static_cast<size_t>(s.layers), layer);
    weights.embedding = weights.head = view(s.vocabulary, s.hidden);
    weights.final_norm = view(s.hidden, 1);
    const double per_layer =
        static_cast<double>(s.hidden) * static_cast<double>(2 * q + 2 * kv + 3 * s.mlp);
    const double matrices = per_layer * s.layers + static_cast<double>(s.hidden) * s.vocabulary;
    matrix_bytes = 2 * matrices;
    operations_per_row = 2 * matrices;
  }
  WeightView view(int64_t rows, int64_t cols) const {
    return {reinterpret_cast<const std::byte*>(random.data()), DType::kBF16, rows, cols, "random"};
  }
};

EngineShape shape_of(const Case& c) {
  EngineShape shape;
  shape.block_size = c.block;
  shape.buffer_blocks = c.buffer;
  shape.page_size = 32;
  shape.max_requests = c.requests;
  shape.max_batched_tokens = std::max(512, c.requests * c.block * c.buffer);
  shape.max_model_len = kPrompt + kOutput;
  shape.kv_pages = c.requests * (shape.max_model_len / shape.page_size + 1);
  shape.prefix_caching = false;
  return shape;
}

BackendConfig config_of(const EngineShape& shape) {
  BackendConfig config;
  config.max_requests = shape.max_requests;
  config.max_tokens = shape.max_batched_tokens;
  config.window_stride = shape.block_size * shape.buffer_blocks;
  config.max_head_rows = shape.max_requests * config.window_stride;
  config.max_pages_per_request = shape.max_model_len / shape.page_size;
  config.page_size = shape.page_size;
  config.kv_pages = shape.kv_pages;
  config.weight_dtype = config.kv_dtype = DType::kBF16;
  return config;
}

std::unique_ptr<Request> make_request(const Model& model, const EngineShape& shape, uint64_t id) {
  const Strategy& strategy = find_strategy("multi_bd");
  OptionValues options(strategy.options);
  options.set("bench", "add_block_threshold", "0");
  RequestSpec spec;
  spec.blocks = strategy.decision(model.arch, sampler_for("sdar"), shape, options);
  spec.limit = shape.max_model_len;
  spec.limit_reason = decide::kContext;
  spec.sampler.top_p = 1;
  for (int i = 0; i < kPrompt; ++i)
    spec.prompt.push_back(
        static_cast<int32_t>((id * 7919 + static_cast<uint64_t>(i) * 31) % 30000));
  auto request = strategy.make_request(id, std::move(spec), std::make_shared<RequestRecord>());
  request->attention = strategy.attention(*request);
  return request;
}

void run_case(const Model& model, const char* name, const Case& c, int steps,
              const Limits& limits) {
  const Strategy& strategy = find_strategy("multi_bd");
  const EngineShape shape = shape_of(c);
  const auto backend = cuda::create(model.arch, model.weights, config_of(shape), nullptr);
  const auto cache = strategy.make_cache_manager(shape);
  const auto scheduler = strategy.make_scheduler(shape, *cache);
  const auto runner = strategy.make_runner(*backend);
  for (int i = 0; i < c.requests; ++i)
    scheduler->add(make_request(model, shape, static_cast<uint64_t>(i) + 1));
  const int full = c.requests * c.block * c.buffer;
  std::vector<double> times;
  std::vector<std::unique_ptr<Request>> finished;
  for (uint64_t step = 0; times.size() < static_cast<size_t>(steps) && step < 2000; ++step) {
    int rows = 0;
    const double ms = milliseconds([&] {
      const Schedule& schedule = scheduler->schedule();
      for (const ScheduledRequest& s : schedule.rows) rows += s.rows;
      if (rows == 0) return;
      runner->run(step, schedule);
      scheduler->settle(finished);
    });
    if (rows == 0) break;
    if (rows == full && step > 20) times.push_back(ms);
  }
  const double floor = std::max(model.matrix_bytes / limits.bytes_per_ms,
                                model.operations_per_row * full / limits.operations_per_ms);
  const double ms = median(times);
  std::printf("%-5s %5d %6d %8d %7d %10.3f %9.3f %7.2f %7zu\n", name, c.block, c.buffer, c.requests,
              full, ms, floor, ms / floor, times.size());
  std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) {
  int steps = 40;
  std::vector<std::string> names;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--steps") == 0 && i + 1 < argc)
      steps = std::atoi(argv[++i]);
    else
      names.emplace_back(argv[i]);
  }
  if (names.empty()) names = {"1.7b", "8b"};
  try {
    const Device& device = find_device("cuda");
    const Limits limits = measure_limits();
    std::printf("%s: copies %.0f GB/s, bf16 products %.0f TFLOP/s\n", device.name.c_str(),
                limits.bytes_per_ms * 1e-6, limits.operations_per_ms * 1e-9);
    std::printf("shape block buffer requests    rows    step ms  floor ms   ratio   steps\n");
    for (const Shape& shape : kShapes) {
      if (std::find(names.begin(), names.end(), shape.name) == names.end()) continue;
      const Model model(shape);
      for (const Case& c : kCases) run_case(model, shape.name, c, steps, limits);
    }
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  return 0;
}
