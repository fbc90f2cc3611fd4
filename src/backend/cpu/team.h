// A fixed team of threads that runs one function in all members at once.
#pragma once

#include <atomic>
#include <cstdint>
#include <thread>
#include <type_traits>
#include <vector>

namespace diffulex::cpu {

// Thread class: one owner thread, which is member 0 of every run(). Members 1.. are threads of the
// team; they sleep between runs. barrier() and claim() may only be called from inside run().
// Functions given to run() must not throw.
class Team {
 public:
  explicit Team(int members);
  ~Team();
  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;

  int size() const { return size_; }

  // Calls fn(member) in every member and returns when all have returned.
  template <class Fn>
  void run(Fn&& fn) {
    using F = std::remove_reference_t<Fn>;
    run_erased([](void* f, int member) { (*static_cast<F*>(f))(member); }, &fn);
  }

  // Waits until every member is here. Work done before it is visible to all members after it;
  // claim() starts at 0 again.
  void barrier();

  // The next work item of this phase (the time between two barriers): 0, 1, 2, ...
  int64_t claim() { return next_.fetch_add(1, std::memory_order_relaxed); }

 private:
  using Entry = void (*)(void*, int);

  void run_erased(Entry entry, void* context);
  void work(int member);

  const int size_;
  Entry entry_ = nullptr;  // written before generation_ is released
  void* context_ = nullptr;
  std::atomic<bool> stop_{false};
  alignas(64) std::atomic<uint32_t> generation_{0};  // runs started
  alignas(64) std::atomic<uint32_t> phase_{0};       // barriers passed
  alignas(64) std::atomic<int> arrived_{0};
  alignas(64) std::atomic<int64_t> next_{0};
  std::vector<std::thread> threads_;
};

// Within its scope oneDNN runs single-threaded in the calling thread; the thread's own OpenMP
// setting comes back after.
class SingleThreadedOpenMp {
 public:
  SingleThreadedOpenMp();
  ~SingleThreadedOpenMp();
  SingleThreadedOpenMp(const SingleThreadedOpenMp&) = delete;
  SingleThreadedOpenMp& operator=(const SingleThreadedOpenMp&) = delete;

 private:
  int saved_;
};

}  // namespace diffulex::cpu
