// A team of threads that runs one function on all members at once, with barriers inside. The caller of run() is member 0.
#pragma once

#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

namespace diffulex::cpu {

// run() from one thread at a time; barrier() from inside run() by every member.
class Team {
 public:
  explicit Team(int members);
  ~Team();
  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;

  int size() const { return size_; }

  // body(member) must not throw.
  template <class Body>
  void run(const Body& body) {
    call_ = [](const void* context, int member) { (*static_cast<const Body*>(context))(member); };
    context_ = &body;
    if (size_ > 1) {
      epoch_.fetch_add(1, std::memory_order_release);
      epoch_.notify_all();
    }
    body(0);
    barrier();
  }

  void barrier();

 private:
  void work(int member);

  const int size_;
  void (*call_)(const void*, int) = nullptr;  // published by epoch_
  const void* context_ = nullptr;
  std::atomic<uint32_t> epoch_{0};      // counts runs; the top bit says stop
  std::atomic<int> arrived_{0};
  std::atomic<uint32_t> phase_{0};      // counts barriers
  std::vector<std::thread> workers_;
};

}  // namespace diffulex::cpu
