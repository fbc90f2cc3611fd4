#include "backend/cpu/team.h"

#include <omp.h>

#include <algorithm>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace diffulex::cpu {

namespace {

// About 100 us on current processors: longer than the usual wait at a barrier, short enough not to
// starve a machine that has other work.
constexpr int kSpins = 4000;

void pause() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Returns once value != old, with acquire ordering: spins first, then sleeps.
void wait_while(const std::atomic<uint32_t>& value, uint32_t old) {
  for (int i = 0; i < kSpins; ++i) {
    if (value.load(std::memory_order_acquire) != old) return;
    pause();
  }
  value.wait(old, std::memory_order_acquire);
}

}  // namespace

Team::Team(int members) : size_(std::max(1, members)) {
  threads_.reserve(static_cast<size_t>(size_) - 1);
  try {
    for (int i = 1; i < size_; ++i) threads_.emplace_back([this, i] { work(i); });
  } catch (...) {
    stop_.store(true, std::memory_order_relaxed);
    generation_.fetch_add(1, std::memory_order_release);
    generation_.notify_all();
    for (std::thread& t : threads_) t.join();
    throw;
  }
}

Team::~Team() {
  stop_.store(true, std::memory_order_relaxed);
  generation_.fetch_add(1, std::memory_order_release);
  generation_.notify_all();
  for (std::thread& t : threads_) t.join();
}

void Team::run_erased(Entry entry, void* context) {
  entry_ = entry;
  context_ = context;
  next_.store(0, std::memory_order_relaxed);
  generation_.fetch_add(1, std::memory_order_release);
  if (size_ > 1) generation_.notify_all();
  entry(context, 0);
  barrier();
}

void Team::work(int member) {
  omp_set_num_threads(1);  // a setting of this thread alone
  uint32_t seen = 0;
  for (;;) {
    wait_while(generation_, seen);
    ++seen;  // the owner waits for the end of a run before it starts the next one
    if (stop_.load(std::memory_order_relaxed)) return;
    entry_(context_, member);
    barrier();
  }
}

void Team::barrier() {
  const uint32_t phase =
      phase_.load(std::memory_order_relaxed);  // cannot change before this member has arrived
  if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == size_) {
    arrived_.store(0, std::memory_order_relaxed);
    next_.store(0, std::memory_order_relaxed);
    phase_.store(phase + 1, std::memory_order_release);
    if (size_ > 1) phase_.notify_all();
  } else {
    wait_while(phase_, phase);
  }
}

SingleThreadedOpenMp::SingleThreadedOpenMp() : saved_(omp_get_max_threads()) {
  omp_set_num_threads(1);
}

SingleThreadedOpenMp::~SingleThreadedOpenMp() { omp_set_num_threads(saved_); }

}  // namespace diffulex::cpu
