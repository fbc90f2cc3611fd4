// What a step of the CPU backend costs beside its matrix products alone.
//
//   diffulex_bench_cpu [shape ...] [--weights bf16|i8|both] [--threads N] [--rounds N] [--deep N]
//                      [--quiet PERCENT]
//
// Shapes: 0.6b, 1.7b, 8b (random bf16 weights). The engine's step and the same products in plain
// oneDNN (whole prepacked matrices, oneDNN's own threads; for i8 the faster of u8 * s8 and s8 * s8)
// are measured interleaved in one process, for all weight types in each round; at first come the
// machine's limits. Figures are medians of the rounds with the smallest beside them, ratios are
// medians of each round's ratio. With --quiet a round in which others took more of the processors
// is rejected (up to eight times as many as are taken).
#include <omp.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <dnnl.hpp>
#include <fstream>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "cpu_engine.h"
#include "plain_products.h"
#include "random_model.h"

namespace {

using namespace diffulex;
using namespace diffulex_bench;

constexpr int kMaxRows = CpuEngine::kMaxRows;
constexpr int kTries = 8;  // rounds that may be rejected for each one that is taken
// OpenMP's workers keep spinning for some milliseconds after a product of plain oneDNN; a step
// timed meanwhile would share its cores with them.
constexpr std::chrono::milliseconds kSettle(30);

double median(std::vector<double> v) {
  std::sort(v.begin(), v.end());
  return v.empty() ? 0 : v[v.size() / 2];
}

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
  PlainProduct big(engine, kPlainBf16, 4096, 2048), small(engine, kPlainU8S8, 4096, 2048);
  dnnl::memory x = plain_input(engine, kPlainBf16, 2048, 2048),
               x8 = plain_input(engine, kPlainU8S8, 2048, 2048),
               y({{2048, 4096}, dnnl::memory::data_type::f32, dnnl::memory::format_tag::ab},
                 engine);
  std::vector<uint64_t> memory(size_t{1} << 27, 1);  // 1 GiB
  std::vector<double> peak, peak8, bandwidth;
  for (int round = 0; round < 7; ++round) {
    peak.push_back(big.operations(2048) / 1e9 / seconds([&] {
                     big.run(stream, 2048, x, y);
                     stream.wait();
                   }));
    peak8.push_back(small.operations(2048) / 1e9 / seconds([&] {
                      small.run(stream, 2048, x8, y);
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
  std::printf("limits: products %.0f GFLOP/s in bf16, %.0f GOP/s in int8; memory reads %.1f GB/s\n",
              median(peak), median(peak8), median(bandwidth));
}

// What other processes take of the processors.
class Company {
 public:
  Company() { read(&all_, &own_); }

  // Their share since the last call, of all processors.
  double share() {
    double all, own;
    read(&all, &own);
    const auto now = std::chrono::steady_clock::now();
    const double time = std::chrono::duration<double>(now - since_).count();
    const double others = (all - all_) - (own - own_);
    all_ = all, own_ = own, since_ = now;
    return std::max(0.0, others / time / std::thread::hardware_concurrency());
  }

 private:
  static void read(double* all, double* own) {  // seconds
    std::ifstream stat("/proc/stat");
    std::string name;
    double user = 0, nice = 0, system = 0;
    stat >> name >> user >> nice >> system;
    *all = (user + nice + system) / static_cast<double>(sysconf(_SC_CLK_TCK));
    *own = static_cast<double>(std::clock()) / CLOCKS_PER_SEC;
  }

  double all_ = 0, own_ = 0;
  std::chrono::steady_clock::time_point since_ = std::chrono::steady_clock::now();
};

// One weight type: the engine and what its products alone cost.
struct Contender {
  Contender(const ModelShape& shape, DType weights, int threads, int deep)
      : name(name_of(weights)),
        numbers(random_bf16(shape.largest_matrix())),
        model(shape, numbers),
        engine(model, {weights, threads, deep}) {
    numbers = {};  // packed
    if (weights == DType::kI8) {
      plain.emplace_back(shape, kPlainU8S8, kMaxRows);
      plain.emplace_back(shape, kPlainS8S8, kMaxRows);
    } else {
      plain.emplace_back(shape, kPlainBf16, kMaxRows);
    }
    std::printf("%s: %s, %.2f GB of weights packed in %.1f s\n", shape.name,
                engine.backend->kernels().c_str(),
                static_cast<double>(engine.backend->memory().weights) / 1e9, engine.pack_seconds);
    for (int depth = 0; depth < deep; depth += kMaxRows)
      engine.run(std::min(kMaxRows, deep - depth), depth, std::min(kMaxRows, deep - depth));
  }

  void round(int rows, int deep) {
    latest[0] = 1e30;
    for (PlainForward& p : plain) latest[0] = std::min(latest[0], seconds([&] { p.run(rows); }));
    std::this_thread::sleep_for(kSettle);
    latest[1] = seconds([&] { engine.run(rows, 0, 0); });
    latest[2] = seconds([&] { engine.run(rows, deep, 0); });
  }

  void settle(bool take) {
    if (!take) return;
    alone.push_back(latest[0] * 1e3);
    shallow.push_back(latest[1] * 1e3);
    deeper.push_back(latest[2] * 1e3);
    ratio.push_back(latest[1] / latest[0]);
    growth.push_back(latest[2] / latest[1]);
  }

  void print(int rows, int deep) {
    const auto least = [](const std::vector<double>& v) {
      return *std::min_element(v.begin(), v.end());
    };
    std::printf("%-5s %5d %6d %9.2f %9.2f %9.2f %9.2f %8.0f %7.3f %7s\n", name.c_str(), rows, 0,
                median(shallow), least(shallow), median(alone), least(alone),
                plain[0].operations(rows) / 1e6 / median(alone), median(ratio), "");
    std::printf("%-5s %5d %6d %9.2f %9.2f %9s %9s %8s %7s %7.3f\n", name.c_str(), rows, deep,
                median(deeper), least(deeper), "", "", "", "", median(growth));
    for (auto* v : {&alone, &shallow, &deeper, &ratio, &growth}) v->clear();
  }

  std::string name;
  std::vector<uint16_t> numbers;  // of all layers, which pack copies of their own
  RandomModel model;
  CpuEngine engine;
  std::vector<PlainForward> plain;
  double latest[3] = {};  // plain, shallow, deep
  std::vector<double> alone, shallow, deeper, ratio, growth;
};

void measure(const ModelShape& shape, const std::vector<DType>& types, int threads, int rounds,
             int deep, double quiet) {
  std::printf("\n");
  std::vector<std::unique_ptr<Contender>> contenders;
  for (const DType t : types)
    contenders.push_back(std::make_unique<Contender>(shape, t, threads, deep));
  std::printf("%-5s %5s %6s %9s %9s %9s %9s %8s %7s %7s\n", "", "rows", "depth", "step ms", "least",
              "plain ms", "least", "GOP/s", "ratio", "to d=0");
  for (const int rows : {8, 32, 128}) {
    std::vector<double> busy;
    int rejected = 0;
    Company company;
    for (int round = -1; round < rounds;) {  // the first one warms up
      const bool last_try = rejected >= kTries * rounds;
      for (auto& c : contenders) c->round(rows, deep);
      const double share = company.share();
      const bool take = round >= 0 && (share <= quiet || last_try);
      for (auto& c : contenders) c->settle(take);
      if (take) busy.push_back(100 * share);
      rejected += round >= 0 && !take ? 1 : 0;
      round += round < 0 || take ? 1 : 0;
    }
    for (auto& c : contenders) c->print(rows, deep);
    std::printf(
        "      others took %.1f %% (median of the rounds), %d rounds rejected, core to core and "
        "back %.0f ns\n",
        median(busy), rejected, threads > 1 ? round_trip_ns() : 0.0);
    std::fflush(stdout);
  }
}

}  // namespace

int main(int argc, char** argv) {
  int threads = static_cast<int>(std::thread::hardware_concurrency()), rounds = 11, deep = 2048;
  double quiet = 1;
  std::vector<const ModelShape*> chosen;
  std::vector<DType> types = {cpu::best_weight_dtype(), DType::kI8};
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    const auto number = [&] { return i + 1 < argc ? std::atoi(argv[++i]) : 0; };
    if (word == "--threads") {
      threads = number();
    } else if (word == "--rounds") {
      rounds = number();
    } else if (word == "--deep") {
      deep = number();
    } else if (word == "--quiet") {
      quiet = number() / 100.0;
    } else if (word == "--weights") {
      const std::string type = i + 1 < argc ? argv[++i] : "both";
      if (type == "i8") types = {DType::kI8};
      if (type == "bf16") types = {cpu::best_weight_dtype()};
    } else if (const ModelShape* const shape = find_shape(word)) {
      chosen.push_back(shape);
    }
  }
  if (chosen.empty()) chosen.push_back(find_shape("0.6b"));
  omp_set_num_threads(threads);
  std::printf("%d threads, medians of %d rounds\n", threads, rounds);
  measure_limits(threads);
  for (const ModelShape* s : chosen) measure(*s, types, threads, rounds, deep, quiet);
  return 0;
}
