// What a weight type does to the logits of a model of random weights, against f32.
//
//   diffulex_bench_cpu_accuracy [shape ...] [--threads N] [--rows N]
//
// Weights are drawn from N(0, 0.02), other ones in every layer. Once all norms' weights are 1; once
// every 256th of them is 30, as trained models have a few channels that are far larger than the
// others. Figures over all rows and ids: the RMS of the difference from f32 relative to the RMS of
// f32's logits, and the share of rows whose greedy token is the same.
#include <cmath>
#include <cstdio>
#include <cstring>
#include <random>
#include <string>
#include <thread>

#include "cpu_engine.h"

namespace {

using namespace diffulex;
using namespace diffulex_bench;

constexpr float kSpread = 0.02f;
constexpr float kOutlier = 30;
constexpr int kOutlierEvery = 256;

// The normal distribution by its quantiles: 2^16 values, each as likely as the other.
std::vector<uint16_t> normal_numbers(size_t count) {
  constexpr size_t kValues = 1 << 16;
  std::mt19937_64 rng(1);
  std::normal_distribution<float> draw(0, kSpread);
  std::vector<uint16_t> values(kValues), numbers(count);
  for (uint16_t& v : values) v = cpu::to_bf16(draw(rng));
  for (size_t i = 0; i < count; i += 4) {
    const uint64_t bits = rng();
    for (size_t j = 0; j < 4 && i + j < count; ++j)
      numbers[i + j] = values[bits >> 16 * j & 0xFFFF];
  }
  return numbers;
}

// The model's matrices at other places of the numbers in each layer, its norms in `norms`.
void vary(RandomModel* model, const std::vector<uint16_t>& numbers,
          const std::vector<uint16_t>& norms) {
  size_t at = 0;
  const auto place = [&](WeightView* view) {
    const size_t size = static_cast<size_t>(view->rows * view->cols);
    if (at + size > numbers.size()) at = at % 4099 + 1;
    view->data = reinterpret_cast<const std::byte*>(numbers.data() + at);
    at += size;
  };
  const auto* const norm = reinterpret_cast<const std::byte*>(norms.data());
  for (LayerWeights& l : model->weights.layers) {
    for (WeightView* view : {&l.q, &l.k, &l.v, &l.o, &l.gate, &l.up, &l.down}) place(view);
    l.input_norm.data = l.post_norm.data = norm;
    l.q_norm.data = l.k_norm.data = norm + 2;  // no outlier in a head
  }
  model->weights.final_norm.data = norm;
}

struct Error {
  double relative, agreement;
};

Error compare(const std::vector<float>& x, const std::vector<float>& exact, int rows) {
  const size_t width = exact.size() / static_cast<size_t>(rows);
  double difference = 0, size = 0;
  int same = 0;
  for (int r = 0; r < rows; ++r) {
    const size_t from = static_cast<size_t>(r) * width;
    size_t best = 0, expected = 0;
    for (size_t i = 0; i < width; ++i) {
      const double a = x[from + i], b = exact[from + i];
      difference += (a - b) * (a - b);
      size += b * b;
      if (x[from + i] > x[from + best]) best = i;
      if (exact[from + i] > exact[from + expected]) expected = i;
    }
    same += best == expected ? 1 : 0;
  }
  return {std::sqrt(difference / size), static_cast<double>(same) / rows};
}

void measure(const ModelShape& shape, int threads, int rows) {
  const std::vector<uint16_t> numbers = normal_numbers(shape.largest_matrix());
  for (const bool outliers : {false, true}) {
    std::vector<uint16_t> norms(static_cast<size_t>(shape.hidden), cpu::to_bf16(1));
    for (size_t i = 0; outliers && i < norms.size(); i += kOutlierEvery)
      norms[i] = cpu::to_bf16(kOutlier);
    RandomModel model(shape, numbers);
    vary(&model, numbers, norms);
    std::vector<float> exact;
    for (const DType type : {DType::kF32, DType::kBF16, DType::kI8}) {
      if (type == DType::kBF16 && cpu::best_weight_dtype() != type) continue;
      CpuEngine engine(model, {type, threads, 0});
      std::vector<float> logits(static_cast<size_t>(rows) * static_cast<size_t>(shape.vocabulary));
      engine.run(rows, 0, 0, logits.data());
      if (type == DType::kF32) {
        exact = std::move(logits);
        continue;
      }
      const Error e = compare(logits, exact, rows);
      std::printf("%s %-12s %-4s relative RMS error %.4f, same greedy token %.3f\n", shape.name,
                  outliers ? "outliers" : "no outliers", std::string(name_of(type)).c_str(),
                  e.relative, e.agreement);
      std::fflush(stdout);
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  int threads = static_cast<int>(std::thread::hardware_concurrency()), rows = 128;
  std::vector<const ModelShape*> chosen;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    const auto number = [&] { return i + 1 < argc ? std::atoi(argv[++i]) : 0; };
    if (word == "--threads") {
      threads = number();
    } else if (word == "--rows") {
      rows = number();
    } else if (const ModelShape* const shape = find_shape(word)) {
      chosen.push_back(shape);
    }
  }
  if (chosen.empty()) chosen.push_back(find_shape("0.6b"));
  for (const ModelShape* s : chosen) measure(*s, threads, rows);
  return 0;
}
