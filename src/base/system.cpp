#include "base/system.h"

#include <sched.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <thread>

namespace diffulex {
namespace {

// The text behind "key<blanks>:" in a /proc table, "" when it is not there.
std::string proc_field(const char* path, const std::string& key) {
  std::ifstream in(path);
  in.exceptions(std::ios::badbit);  // or a stream without memory looks like an empty one
  for (std::string line; std::getline(in, line);) {
    const size_t colon = line.find(':');
    if (colon == std::string::npos || line.compare(0, key.size(), key) != 0) continue;
    const size_t begin = line.find_first_not_of(" \t", colon + 1);
    return begin == std::string::npos ? "" : line.substr(begin);
  }
  return "";
}

uint64_t meminfo_bytes(const std::string& key) {
  const std::string field = proc_field("/proc/meminfo", key);
  return field.empty() ? 0 : std::strtoull(field.c_str(), nullptr, 10) * 1024;
}

}  // namespace

uint64_t monotonic_ns() {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(now).count());
}

uint64_t memory_total_bytes() { return meminfo_bytes("MemTotal"); }
uint64_t memory_available_bytes() { return meminfo_bytes("MemAvailable"); }

int processor_count() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) == 0 && CPU_COUNT(&set) > 0) return CPU_COUNT(&set);
  const unsigned count = std::thread::hardware_concurrency();
  return count == 0 ? 1 : static_cast<int>(count);
}

std::string processor_name() {
  const std::string name = proc_field("/proc/cpuinfo", "model name");
  return name.empty() ? "CPU" : name;
}

}  // namespace diffulex
