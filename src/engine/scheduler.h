// Level 2: which requests run in a step, with how many rows, and who gives up its pages when they run out.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "cache/kv_cache_manager.h"
#include "engine/request.h"

namespace diffulex {

struct SchedulerLimits {
  int32_t max_requests = 0;       // running together
  int32_t max_batched_tokens = 0;  // rows of one step; at least a full window for each of max_requests
};

// One request's part in a step: rows [request->cached, request->cached + rows).
struct ScheduledRequest {
  Request* request = nullptr;
  int32_t rows = 0;
  int32_t store_len = 0;      // of them written to the cache
  int32_t window_offset = -1;  // first row of the window, -1: not part of this step
  int32_t stored_blocks = 0;  // window blocks among the stored rows
};

// What changed beside the rows, for events.
struct Schedule {
  std::vector<ScheduledRequest> rows;
  std::vector<Request*> admitted;
  std::vector<Request*> preempted;
};

// Continuous batching: running requests first, oldest first; what is left of the token budget admits waiting ones in order.
// Prompts are computed in chunks of whole blocks beside the decoding of others. Not thread-safe: the owner thread only.
class Scheduler {
 public:
  Scheduler(const SchedulerLimits& limits, KvCacheManager& cache);
  virtual ~Scheduler() = default;
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;

  void add(std::unique_ptr<Request> request);
  // Removes a request wherever it is, releasing its pages; null when it is not here.
  std::unique_ptr<Request> remove(uint64_t id);
  bool empty() const { return waiting_.empty() && running_.empty(); }
  size_t waiting_count() const { return waiting_.size(); }
  size_t running_count() const { return running_.size(); }
  size_t preempted_count() const;
  std::vector<uint64_t> ids() const;  // of every request that is here

  // Decides a step. The schedule stays valid until the next call.
  virtual const Schedule& schedule();
  // After the step's results were applied: publishes pages; finished requests are handed to `finished`.
  virtual void settle(std::vector<std::unique_ptr<Request>>& finished);

 protected:
  bool place(Request& request, int32_t& budget);
  bool admit_front(int32_t& budget);
  void preempt(size_t running_index);
  bool make_room(size_t running_index, int32_t positions);

 private:
  std::unique_ptr<Request> take_running(size_t index);

  SchedulerLimits limits_;
  KvCacheManager& cache_;
  std::deque<std::unique_ptr<Request>> waiting_;
  std::vector<std::unique_ptr<Request>> running_;  // oldest first
  std::vector<int32_t> free_slots_;                // resident rows not in use
  Schedule schedule_;
};

}  // namespace diffulex
