#include "read_rates.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <functional>
#include <new>
#include <stdexcept>
#include <thread>

namespace diffulex_bench {
namespace {

constexpr size_t kPiece = size_t{1} << 20;
constexpr size_t kMemory = size_t{512} << 20;  // of each buffer, far beyond the caches

double seconds(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

void in_threads(int threads, const std::function<void(int)>& work) {
  std::vector<std::thread> team;
  for (int t = 0; t < threads; ++t) team.emplace_back(work, t);
  for (std::thread& member : team) member.join();
}

// The best of a few: others use this machine too.
double best_rate(double bytes, const std::function<void()>& work) {
  double best = 0;
  for (int round = 0; round < 3; ++round) best = std::max(best, bytes / 1e9 / seconds(work));
  return best;
}

void read_file(const std::string& path, int threads) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) throw std::runtime_error("cannot open " + path);
  std::atomic<int64_t> next{0};
  in_threads(threads, [&](int) {
    std::vector<char> buffer(kPiece);
    while (::pread(fd, buffer.data(), kPiece, next.fetch_add(kPiece)) > 0) {
    }
  });
  ::close(fd);
}

}  // namespace

std::vector<std::string> weight_files(const std::string& dir) {
  std::vector<std::string> files;
  for (const auto& entry : std::filesystem::directory_iterator(dir))
    if (entry.path().extension() == ".safetensors") files.push_back(entry.path().string());
  std::sort(files.begin(), files.end());
  return files;
}

double bytes_of(const std::vector<std::string>& files) {
  double bytes = 0;
  for (const std::string& file : files)
    bytes += static_cast<double>(std::filesystem::file_size(file));
  return bytes;
}

void drop_cached(const std::vector<std::string>& files) {
  for (const std::string& file : files) {
    const int fd = ::open(file.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) continue;
    ::fdatasync(fd);
    ::posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    ::close(fd);
  }
}

double file_rate(const std::vector<std::string>& files, int threads) {
  return bytes_of(files) / 1e9 / seconds([&] {
           for (const std::string& file : files) read_file(file, threads);
         });
}

double copy_rate(int threads) {
  std::vector<char> from(kMemory, 1), to(kMemory, 2);
  const size_t share = kMemory / static_cast<size_t>(threads);
  return best_rate(static_cast<double>(kMemory), [&] {
    in_threads(threads, [&](int t) {
      const size_t begin = share * static_cast<size_t>(t);
      std::memcpy(to.data() + begin, from.data() + begin, share);
    });
  });
}

double fresh_rate(int threads) {
  constexpr size_t kBytes = size_t{1} << 30;
  void* const memory =
      ::mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  (void)::madvise(memory, kBytes, MADV_HUGEPAGE);
  const size_t share = kBytes / static_cast<size_t>(threads);
  const double rate =
      static_cast<double>(kBytes) / 1e9 / seconds([&] {
        in_threads(threads, [&](int t) {
          std::memset(static_cast<char*>(memory) + share * static_cast<size_t>(t), 1, share);
        });
      });
  (void)::munmap(memory, kBytes);
  return rate;
}

double memory_rate(int threads) {
  const std::vector<uint64_t> memory(kMemory / sizeof(uint64_t), 1);
  const size_t share = memory.size() / static_cast<size_t>(threads);
  std::atomic<uint64_t> sum{0};  // keeps the reads
  return best_rate(static_cast<double>(kMemory), [&] {
    in_threads(threads, [&](int t) {
      const uint64_t* const part = memory.data() + share * static_cast<size_t>(t);
      uint64_t a = 0, b = 0, c = 0, d = 0;
      for (size_t i = 0; i + 4 <= share; i += 4) {
        a += part[i];
        b += part[i + 1];
        c += part[i + 2];
        d += part[i + 3];
      }
      sum += a + b + c + d;
    });
  });
}

}  // namespace diffulex_bench
