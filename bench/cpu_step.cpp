// What a step of the CPU backend costs beside its matrix products alone.
//
//   diffulex_bench_cpu [shape ...] [--threads N] [--rounds N] [--deep N]
//
// Shapes: 0.6b, 1.7b, 8b (random bf16 weights). The engine's step, the same products in plain
// oneDNN (whole prepacked matrices, oneDNN's own threads) and, at first, the machine's limits are
// measured interleaved in one process; figures are medians of the rounds, ratios are medians of
// each round's ratio.
#include <omp.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <dnnl.hpp>
#include <functional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "backend/cpu/cpu_backend.h"
#include "random_model.h"

namespace {

using namespace diffulex;
using namespace diffulex_bench;
using Type = dnnl::memory::data_type;
using Tag = dnnl::memory::format_tag;

constexpr int kPageSize = 32;
constexpr int kMaxRows = 512;
// OpenMP's workers keep spinning for some milliseconds after a product of plain oneDNN; a step
// timed meanwhile would share its cores with them.
constexpr std::chrono::milliseconds kSettle(30);

double seconds(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double median(std::vector<double> v) {
  std::sort(v.begin(), v.end());
  return v.empty() ? 0 : v[v.size() / 2];
}

// One matrix product in plain oneDNN, its weights packed for it.
class PlainProduct {
 public:
  PlainProduct(const dnnl::engine& engine, int n, int k) : engine_(engine), n_(n), k_(k) {}

  void run(dnnl::stream& stream, int rows, dnnl::memory& x, dnnl::memory& y) {
    if (rows != rows_) prepare(rows);
    product_.execute(stream, {{DNNL_ARG_SRC, dnnl::memory(x_, engine_, x.get_data_handle())},
                              {DNNL_ARG_WEIGHTS, weights_},
                              {DNNL_ARG_DST, dnnl::memory(y_, engine_, y.get_data_handle())}});
  }
  double operations(int rows) const { return 2.0 * rows * n_ * k_; }

  void prepare(int rows) {
    x_ = {{rows, k_}, Type::bf16, Tag::ab};
    y_ = {{rows, n_}, Type::f32, Tag::ab};
    const dnnl::memory::desc wish =
        weights_ ? weights_.get_desc() : dnnl::memory::desc({k_, n_}, Type::bf16, Tag::any);
    const dnnl::matmul::primitive_desc pd(dnnl::matmul::desc(x_, wish, y_), engine_);
    product_ = dnnl::matmul(pd);
    rows_ = rows;
    if (weights_) return;
    weights_ = dnnl::memory(pd.weights_desc(), engine_);
    auto* const w = static_cast<uint16_t*>(weights_.get_data_handle());
    for (size_t i = 0; i < pd.weights_desc().get_size() / 2; ++i)
      w[i] = static_cast<uint16_t>(0x3C00 + i * 37 % 512);
  }

 private:
  dnnl::engine engine_;
  int n_, k_, rows_ = 0;
  dnnl::memory::desc x_, y_;
  dnnl::memory weights_;
  dnnl::matmul product_;
};

// All products of a forward with a head over all rows.
class PlainForward {
 public:
  explicit PlainForward(const ModelShape& s)
      : engine_(dnnl::engine::kind::cpu, 0), stream_(engine_) {
    const int q = s.heads * s.dim, kv = s.kv_heads * s.dim;
    for (int i = 0; i < s.layers; ++i) {
      products_.emplace_back(engine_, q + 2 * kv, s.hidden);
      products_.emplace_back(engine_, s.hidden, q);
      products_.emplace_back(engine_, 2 * s.mlp, s.hidden);
      products_.emplace_back(engine_, s.hidden, s.mlp);
    }
    products_.emplace_back(engine_, s.vocabulary, s.hidden);
    const int widest = std::max({s.hidden, s.mlp, q});
    x_ = dnnl::memory({{kMaxRows, widest}, Type::bf16, Tag::ab}, engine_);
    y_ = dnnl::memory({{kMaxRows, std::max(s.vocabulary, 2 * s.mlp)}, Type::f32, Tag::ab}, engine_);
    std::fill_n(static_cast<uint16_t*>(x_.get_data_handle()), x_.get_desc().get_size() / 2,
                uint16_t{0x3C12});
    std::memset(y_.get_data_handle(), 0, y_.get_desc().get_size());
  }
  void run(int rows) {
    for (PlainProduct& p : products_) p.run(stream_, rows, x_, y_);
    stream_.wait();
  }
  double operations(int rows) const {
    double sum = 0;
    for (const PlainProduct& p : products_) sum += p.operations(rows);
    return sum;
  }

 private:
  dnnl::engine engine_;
  dnnl::stream stream_;
  std::vector<PlainProduct> products_;
  dnnl::memory x_, y_;
};

// The engine's backend on random weights. All layers read the same random numbers but pack copies
// of their own.
class Engine {
 public:
  Engine(const ModelShape& s, int threads, int deepest) {
    const std::vector<uint16_t> numbers = random_bf16(s.largest_matrix());
    const RandomModel model(s, numbers);
    BackendConfig config;
    config.max_requests = 1;
    config.max_tokens = config.max_head_rows = kMaxRows;
    config.page_size = kPageSize;
    config.max_pages_per_request = (deepest + kMaxRows) / kPageSize;
    config.kv_pages = config.max_pages_per_request;
    config.window_stride = 32;
    config.weight_dtype = config.kv_dtype = cpu::best_weight_dtype();
    config.threads = threads;

    pack_seconds = seconds([&] {
      backend = std::make_unique<cpu::CpuBackend>(model.arch, model.weights, config, nullptr);
    });
    for (int i = 0; i < config.max_pages_per_request; ++i) pages.push_back(i);
    vocabulary = s.vocabulary;
  }

  // One forward of `rows` rows on `depth` cached positions, with a greedy head on every row.
  void run(int rows, int depth, int store) {
    RequestRow row{};
    row.token_count = row.head_count = static_cast<uint32_t>(rows);
    row.context_len = depth;
    row.store_len = store;
    row.page_count = static_cast<uint32_t>(pages.size());
    row.window_offset = -1;
    row.attention = {decide::kBlockCausal, 32, 0, 0, 0};
    row.sampler = {0, 1, 0, 0, 0};
    row.blocks.mask_token = vocabulary - 1;
    std::vector<int32_t> tokens, heads;
    for (int i = 0; i < rows; ++i) {
      tokens.push_back((i * 7919 + 13) % vocabulary);
      heads.push_back(i);
    }
    builder.Clear();
    const auto ints = [&](const std::vector<int32_t>& v) {
      builder.ForceVectorAlignment(v.size(), sizeof(int32_t), 16);
      return builder.CreateVector(v);
    };
    const auto t = ints(tokens), h = ints(heads), p = ints(pages);
    builder.ForceVectorAlignment(sizeof row, 1, 16);
    const auto r = builder.CreateVector(reinterpret_cast<const uint8_t*>(&row), sizeof row);
    builder.Finish(wire::CreateStepPlan(builder, 0, r, t, h, p));
    backend->execute(*flatbuffers::GetRoot<wire::StepPlan>(builder.GetBufferPointer()));
  }

  std::unique_ptr<cpu::CpuBackend> backend;
  std::vector<int32_t> pages;
  flatbuffers::FlatBufferBuilder builder;
  double pack_seconds = 0;
  int vocabulary = 0;
};

// Nanoseconds for a cache line to go to another core and back. Members that share a last-level
// cache hand activations to each other several times faster than members that do not, and on a
// virtual machine the host decides which it is, from one minute to the next.
double round_trip_ns() {
  constexpr int kTrips = 200000;
  std::atomic<int> ball{0};
  std::thread partner([&] {
    for (int i = 0; i < kTrips; ++i) {
      while (ball.load(std::memory_order_acquire) != 2 * i + 1) {
      }
      ball.store(2 * i + 2, std::memory_order_release);
    }
  });
  const double time = seconds([&] {
    for (int i = 0; i < kTrips; ++i) {
      ball.store(2 * i + 1, std::memory_order_release);
      while (ball.load(std::memory_order_acquire) != 2 * i + 2) {
      }
    }
  });
  partner.join();
  return time * 1e9 / kTrips;
}

void measure_limits(int threads) {
  const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  dnnl::stream stream(engine);
  PlainProduct big(engine, 4096, 2048);
  dnnl::memory x({{2048, 2048}, Type::bf16, Tag::ab}, engine),
      y({{2048, 4096}, Type::f32, Tag::ab}, engine);
  std::fill_n(static_cast<uint16_t*>(x.get_data_handle()), x.get_desc().get_size() / 2,
              uint16_t{0x3C12});
  std::vector<uint64_t> memory(size_t{1} << 27, 1);  // 1 GiB
  std::vector<double> peak, bandwidth;
  for (int round = 0; round < 7; ++round) {
    peak.push_back(big.operations(2048) / 1e9 / seconds([&] {
                     big.run(stream, 2048, x, y);
                     stream.wait();
                   }));
    bandwidth.push_back(static_cast<double>(memory.size() * 8) / 1e9 / seconds([&] {
                          std::vector<std::thread> readers;
                          std::vector<uint64_t> sums(static_cast<size_t>(threads) * 8);
                          for (int t = 0; t < threads; ++t)
                            readers.emplace_back([&, t] {
                              const size_t share = memory.size() / static_cast<size_t>(threads),
                                           first = share * static_cast<size_t>(t);
                              uint64_t a = 0, b = 0, c = 0, d = 0;
                              for (size_t i = first; i + 4 <= first + share; i += 4) {
                                a += memory[i];
                                b += memory[i + 1];
                                c += memory[i + 2];
                                d += memory[i + 3];
                              }
                              sums[static_cast<size_t>(t) * 8] = a + b + c + d;
                            });
                          for (std::thread& r : readers) r.join();
                          if (sums[0] == 1) std::printf(" ");  // keeps the reads
                        }));
  }
  std::printf("limits: bf16 products %.0f GFLOP/s, memory reads %.1f GB/s\n", median(peak),
              median(bandwidth));
}

void measure(const ModelShape& shape, int threads, int rounds, int deep) {
  Engine engine(shape, threads, deep);
  PlainForward plain(shape);
  std::printf("\n%s: %s, packed in %.1f s\n", shape.name, engine.backend->kernels().c_str(),
              engine.pack_seconds);
  for (int depth = 0; depth < deep; depth += kMaxRows)
    engine.run(std::min(kMaxRows, deep - depth), depth, std::min(kMaxRows, deep - depth));
  std::printf("%6s %6s %10s %10s %10s %8s %8s\n", "rows", "depth", "step ms", "plain ms", "GFLOP/s",
              "ratio", "to d=0");
  for (const int rows : {8, 32, 128}) {
    std::vector<double> shallow, deeper, alone, ratio, deep_ratio, growth;
    for (int round = -1; round < rounds; ++round) {
      const double a = seconds([&] { plain.run(rows); });
      std::this_thread::sleep_for(kSettle);
      const double s = seconds([&] { engine.run(rows, 0, 0); });
      const double d = seconds([&] { engine.run(rows, deep, 0); });
      if (round < 0) continue;  // warm-up
      alone.push_back(a * 1e3);
      shallow.push_back(s * 1e3);
      deeper.push_back(d * 1e3);
      ratio.push_back(s / a);
      deep_ratio.push_back(d / a);
      growth.push_back(d / s);
    }
    const double rate = plain.operations(rows) / 1e6 / median(alone);
    std::printf("%6d %6d %10.2f %10.2f %10.0f %8.3f %8s   core to core and back %.0f ns\n", rows, 0,
                median(shallow), median(alone), rate, median(ratio), "",
                threads > 1 ? round_trip_ns() : 0.0);
    std::printf("%6d %6d %10.2f %10.2f %10.0f %8.3f %8.3f\n", rows, deep, median(deeper),
                median(alone), rate, median(deep_ratio), median(growth));
    std::fflush(stdout);
  }
}

}  // namespace

int main(int argc, char** argv) {
  int threads = static_cast<int>(std::thread::hardware_concurrency()), rounds = 11, deep = 2048;
  std::vector<const ModelShape*> chosen;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    const auto number = [&] { return i + 1 < argc ? std::atoi(argv[++i]) : 0; };
    if (word == "--threads") {
      threads = number();
    } else if (word == "--rounds") {
      rounds = number();
    } else if (word == "--deep") {
      deep = number();
    } else if (const ModelShape* const shape = find_shape(word)) {
      chosen.push_back(shape);
    }
  }
  if (chosen.empty()) chosen.push_back(find_shape("0.6b"));
  omp_set_num_threads(threads);
  std::printf("%d threads, medians of %d rounds\n", threads, rounds);
  measure_limits(threads);
  for (const ModelShape* s : chosen) measure(*s, threads, rounds, deep);
  return 0;
}
