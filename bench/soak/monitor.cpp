#include "monitor.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>

#include "../numbers.h"

namespace diffulex_soak {
namespace {

constexpr double kStall = 5;  // seconds without a step
constexpr double kMegabyte = 1e6;

uint64_t now_ns() {
  return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(
                                   std::chrono::steady_clock::now().time_since_epoch())
                                   .count());
}

}  // namespace

// Allocators keep a little more as time goes by; a leak of one page a request would not pass.
bool Growth::flat() const { return last_mb - first_mb <= std::max(4.0, 0.03 * first_mb); }

Monitor::Monitor(const diffulex_engine* engine, const std::string& device, const Ledger& ledger,
                 bool watch)
    : engine_(engine),
      device_memory_(device),
      ledger_(ledger),
      watch_(watch),
      start_ns_(now_ns()),
      thread_([this] { loop(); }) {}

void Monitor::finish() {
  stop_.store(true);
  if (thread_.joinable()) thread_.join();
}

void Monitor::loop() {
  double next = 0;
  while (!stop_.load()) {
    const Sample now = sample();
    watch_over(now);
    if (now.seconds >= next) {
      samples_.push_back(now);
      next += 1;
      if (samples_.size() % 10 == 1) print(now);
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  samples_.push_back(sample());
}

Sample Monitor::sample() const {
  Sample s;
  s.seconds = static_cast<double>(now_ns() - start_ns_) * 1e-9;
  s.resident = resident_bytes();
  s.device = device_memory_.used().value_or(0);
  s.live = ledger_.live();
  s.stats.struct_size = sizeof(s.stats);
  if (diffulex_engine_get_stats(engine_, &s.stats, nullptr) < 0) s.stats = {};
  return s;
}

// A stalled engine cannot be drained or destroyed: the process says so and ends.
void Monitor::watch_over(const Sample& now) {
  if (now.live == 0 || now.stats.steps != moved_steps_) {
    moved_steps_ = now.stats.steps;
    moved_at_ = now.seconds;
  }
  if (!watch_ || now.seconds - moved_at_ < kStall) return;
  print(now);
  std::printf("FAILED: no step for %.0f s while %llu requests are live\n", kStall,
              static_cast<unsigned long long>(now.live));
  std::fflush(stdout);
  std::_Exit(1);
}

Growth Monitor::growth(uint64_t Sample::*memory) const {
  const size_t warm_up = samples_.size() / 5, third = (samples_.size() - warm_up) / 3;
  std::vector<double> first, last;
  for (size_t i = 0; i < third; ++i) {
    first.push_back(static_cast<double>(samples_[warm_up + i].*memory) / kMegabyte);
    last.push_back(static_cast<double>(samples_[samples_.size() - 1 - i].*memory) / kMegabyte);
  }
  return {diffulex_bench::median(first), diffulex_bench::median(last)};
}

void print_header() {
  std::printf("%7s %9s %9s %6s %7s %6s %8s %9s %10s %9s %9s\n", "s", "RSS MB", "device MB", "live",
              "running", "queued", "free", "finished", "tokens", "preempted", "evicted");
}

void print(const Sample& s) {
  std::printf("%7.1f %9.1f %9.1f %6llu %7u %6u %4u/%-3u %9llu %10llu %9llu %9llu\n", s.seconds,
              static_cast<double>(s.resident) / kMegabyte,
              static_cast<double>(s.device) / kMegabyte, static_cast<unsigned long long>(s.live),
              s.stats.running, s.stats.queued, s.stats.kv_pages_free, s.stats.kv_pages_total,
              static_cast<unsigned long long>(s.stats.finished),
              static_cast<unsigned long long>(s.stats.committed_tokens),
              static_cast<unsigned long long>(s.stats.preemptions),
              static_cast<unsigned long long>(s.stats.kv_pages_evicted));
  std::fflush(stdout);
}

}  // namespace diffulex_soak
