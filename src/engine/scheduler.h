// Level 2: which requests run in a step, with how many rows, and who gives up its pages when they
// run out.
#pragma once

#include <cstdint>
#include <memory>
#include <set>
#include <utility>
#include <vector>

#include "cache/kv_cache_manager.h"
#include "engine/request.h"

namespace diffulex {

struct SchedulerLimits {
  int32_t max_requests = 0;  // running together
  int32_t max_batched_tokens =
      0;  // rows of one step; at least a full window for each of max_requests
};

// One request's part in a step: rows [request->cached, request->cached + rows).
struct ScheduledRequest {
  Request* request = nullptr;  // null: has ended since the backend got its plan
  int32_t rows = 0;
  int32_t store_len = 0;       // of them written to the cache
  int32_t window_offset = -1;  // first row of the window, -1: not part of this step
  int32_t stored_blocks = 0;   // window blocks among the stored rows
  bool aged = false;           // decide::open_block has seen the window
  bool opened = false;         // and opened a block
};

// What changed beside the rows, for events.
struct Schedule {
  std::vector<ScheduledRequest> rows;
  std::vector<Request*> admitted;
  std::vector<Request*> preempted;
};

// Continuous batching: running requests first; what is left of the token budget admits waiting
// ones. Prompts are computed in chunks of whole blocks beside the decoding of others. Everything is
// served in the order of rank: the order of arrival, where one level of priority is worth a head
// start of kHeadStart requests. So a request is overtaken by a bounded number of later ones and
// nothing starves. Not thread-safe: the owner thread only.
class Scheduler {
 public:
  static constexpr int64_t kHeadStart = 256;

  Scheduler(const SchedulerLimits& limits, KvCacheManager& cache);
  virtual ~Scheduler() = default;
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;

  // Takes the request over, or throws std::bad_alloc and takes nothing. Nothing else allocates.
  void add(std::unique_ptr<Request>&& request);
  // Removes a request wherever it is, releasing its pages; null when it is not here.
  std::unique_ptr<Request> remove(uint64_t id);
  // Removes one request whose deadline is at or before now; null when there is none.
  std::unique_ptr<Request> remove_late(uint64_t now_ns);
  // Removes the first request in order, a running one before those that wait; null when none is
  // left. For the caller who finds a schedule without rows although the scheduler is not empty and
  // nobody was preempted: that request should have run but cannot.
  std::unique_ptr<Request> remove_first();
  // Removes the running request that is last in order.
  std::unique_ptr<Request> remove_last();
  bool empty() const { return waiting_.empty() && running_.empty(); }
  size_t waiting_count() const { return waiting_.size(); }
  size_t running_count() const { return running_.size(); }
  size_t preempted_count() const { return preempted_; }

  // Decides a step. The schedule stays valid until the next call.
  virtual const Schedule& schedule();
  // How many steps, `most` at most, the backend may run behind the scheduled one before schedule()
  // has to decide again: none unless all that runs decodes and nobody waits for more than a slot.
  // Takes the pages that they may need, leaving one for each running request; they are given back
  // by return_spare_pages() and by schedule(). A strategy whose rows diffulex::follow cannot make
  // returns 0.
  virtual int reserve_ahead(int most);
  void return_spare_pages();
  // The scheduled step is settled and the backend goes on: the schedule becomes that of its next
  // step. False when nobody is left in it.
  bool follow();
  // Whether a deadline is at or before now.
  bool late(uint64_t now_ns) const {
    return !deadlines_.empty() && deadlines_.begin()->first <= now_ns;
  }
  // Removes every request that has a part in the schedule. finished has room for all.
  void drop_scheduled(std::vector<std::unique_ptr<Request>>& finished);
  // The schedule was not executed: requests are as they were before it.
  void undo();
  // After the step's results were applied: publishes pages; finished requests leave the schedule
  // and are handed to `finished`.
  virtual void settle(std::vector<std::unique_ptr<Request>>& finished);

 protected:
  bool place(Request& request, int32_t& budget);
  // Rows of the forward that computes a whole prompt, 0 when none is due.
  static int32_t whole_prompt_rows(const Request& request);
  bool admit_front(int32_t& budget);
  void preempt(size_t running_index);
  size_t running_index(uint64_t id) const;  // running_count() when it does not run
  // Of running_[first..], the request whose pages cost least: lowest priority, then least to
  // compute again, then last in order.
  size_t victim(size_t first) const;
  bool make_room(size_t running_index, int32_t positions);

 private:
  std::unique_ptr<Request> take_running(size_t index);
  std::unique_ptr<Request> take_waiting(size_t index);
  void forget_deadline(const Request& request);

  SchedulerLimits limits_;
  KvCacheManager& cache_;
  int64_t arrivals_ = 0;
  size_t preempted_ = 0;                               // waiting because they were preempted
  std::vector<std::unique_ptr<Request>> waiting_;      // by rank, the first at the back
  std::vector<std::unique_ptr<Request>> running_;      // by rank
  std::set<std::pair<uint64_t, uint64_t>> deadlines_;  // time in ns, id
  std::vector<int32_t> free_slots_;                    // resident rows not in use
  bool spare_pages_ = false;                           // reserve_ahead has taken some
  Schedule schedule_;
};

}  // namespace diffulex
