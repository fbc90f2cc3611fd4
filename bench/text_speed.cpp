// How fast a tokenizer encodes and decodes, as JSON on one line: MB/s of text, the best of three
// rounds, with one thread and with several that share the documents.
//
//   diffulex_bench_text DIR TEXT [DOCUMENT_BYTES [THREADS]]
//
// DIR holds the tokenizer's files, TEXT is a file of UTF-8. tests/oracle/tokenizer_goldens.py runs
// it beside the tokenizers package.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <functional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "io/mapped_file.h"
#include "text/tokenizer.h"

namespace {

using diffulex::text::Tokenizer;
using Clock = std::chrono::steady_clock;

constexpr int kRounds = 3;

// Cut at characters.
std::vector<std::string_view> documents(std::string_view text, size_t size) {
  std::vector<std::string_view> out;
  for (size_t begin = 0; begin < text.size();) {
    size_t end = std::min(begin + size, text.size());
    while (end < text.size() && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) ++end;
    out.push_back(text.substr(begin, end - begin));
    begin = end;
  }
  return out;
}

// MB/s of `bytes` when `work` has done every one of `count` pieces.
double best_rate(size_t bytes, size_t count, int threads, const std::function<void(size_t)>& work) {
  double best = 0;
  for (int round = 0; round < kRounds; ++round) {
    std::atomic<size_t> next = 0;
    const auto run = [&] {
      for (size_t i = next++; i < count; i = next++) work(i);
    };
    const auto begin = Clock::now();
    std::vector<std::thread> others;
    for (int i = 1; i < threads; ++i) others.emplace_back(run);
    run();
    for (std::thread& other : others) other.join();
    const std::chrono::duration<double> seconds = Clock::now() - begin;
    best = std::max(best, static_cast<double>(bytes) / 1e6 / seconds.count());
  }
  return best;
}

void measure(const Tokenizer& tokenizer, std::string_view text, size_t document, int threads) {
  const std::vector<std::string_view> parts = documents(text, document);
  std::vector<std::vector<int32_t>> ids(parts.size());
  std::vector<std::string> decoded(parts.size());
  const auto encode = [&](size_t i) { ids[i] = tokenizer.encode(parts[i], true); };
  const auto decode = [&](size_t i) { decoded[i] = tokenizer.decode(ids[i], false); };
  const double encode_one = best_rate(text.size(), parts.size(), 1, encode);
  const double encode_all = best_rate(text.size(), parts.size(), threads, encode);
  const double decode_one = best_rate(text.size(), parts.size(), 1, decode);
  const double decode_all = best_rate(text.size(), parts.size(), threads, decode);
  size_t tokens = 0;
  for (const auto& one : ids) tokens += one.size();
  std::printf(
      R"({"tokens": %zu, "encode": %.2f, "encode_batch": %.2f, "decode": %.2f, "decode_batch": %.2f})"
      "\n",
      tokens, encode_one, encode_all, decode_one, decode_all);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: %s DIR TEXT [DOCUMENT_BYTES [THREADS]]\n", argv[0]);
    return 2;
  }
  try {
    const auto tokenizer = Tokenizer::load(argv[1]);
    const diffulex::MappedFile file(argv[2]);
    const size_t document = argc > 3 ? std::strtoul(argv[3], nullptr, 10) : 8192;
    const int threads = argc > 4 ? std::atoi(argv[4]) : 1;
    measure(*tokenizer, file.text(), std::max<size_t>(document, 1), threads);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
  }
  return 0;
}
