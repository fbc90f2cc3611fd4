#include "backend/cpu/team.h"

#include <omp.h>

namespace diffulex::cpu {
namespace {

constexpr uint32_t kStop = 1u << 31;
constexpr int kSpins = 4000;  // some microseconds: longer than a barrier lasts when every member has a core

void pause() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#else
  std::this_thread::yield();
#endif
}

// Waits until the value differs from `known`, spinning first.
uint32_t await_change(const std::atomic<uint32_t>& value, uint32_t known) {
  for (int i = 0; i < kSpins; ++i) {
    const uint32_t now = value.load(std::memory_order_acquire);
    if (now != known) return now;
    pause();
  }
  value.wait(known, std::memory_order_acquire);
  return value.load(std::memory_order_acquire);
}

}  // namespace

Team::Team(int members) : size_(members) {
  try {
    for (int member = 1; member < members; ++member) workers_.emplace_back([this, member] { work(member); });
  } catch (...) {
    epoch_.store(kStop, std::memory_order_release);
    epoch_.notify_all();
    for (std::thread& worker : workers_) worker.join();
    throw;
  }
}

Team::~Team() {
  epoch_.fetch_or(kStop, std::memory_order_release);
  epoch_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void Team::work(int member) {
  omp_set_num_threads(1);  // of this thread: oneDNN then computes in it and nowhere else
  uint32_t known = 0;
  while (true) {
    known = await_change(epoch_, known);
    if ((known & kStop) != 0) return;
    call_(context_, member);
    barrier();
  }
}

void Team::barrier() {
  if (size_ == 1) return;
  const uint32_t phase = phase_.load(std::memory_order_acquire);
  if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == size_) {
    arrived_.store(0, std::memory_order_relaxed);
    phase_.fetch_add(1, std::memory_order_acq_rel);
    phase_.notify_all();
  } else {
    await_change(phase_, phase);
  }
}

}  // namespace diffulex::cpu
