// The event stream of an engine. Events of one request are merged until somebody takes them, so that memory is bounded by the
// number of requests and nothing is lost.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>

#include "diffulex.h"
#include "engine/request_record.h"

namespace diffulex {

// Thread-safe.
class EventQueue {
 public:
  explicit EventQueue(uint32_t mask) : mask_(mask) {}
  ~EventQueue();
  EventQueue(const EventQueue&) = delete;
  EventQueue& operator=(const EventQueue&) = delete;

  // Adds the kinds in event.type; committed_delta adds up, the rest replaces what was pending.
  void push(const std::shared_ptr<RequestRecord>& record, const diffulex_event& event);
  // Reports that the engine failed; once.
  void push_fault(const diffulex_event& event);
  // Drops what is pending for a request that is forgotten.
  void drop(RequestRecord& record);
  // Takes up to `capacity` events through `take`. Returns how many; 0 on time-out, interrupt or closing.
  size_t wait(size_t capacity, int64_t timeout_ms, const std::function<void(size_t, const diffulex_event&)>& take);
  void interrupt();

 private:
  bool ready() const { return head_ != nullptr || fault_pending_; }
  size_t take_pending(size_t capacity, const std::function<void(size_t, const diffulex_event&)>& take);

  const uint32_t mask_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::shared_ptr<RequestRecord> head_;
  RequestRecord* tail_ = nullptr;
  bool fault_pending_ = false;
  diffulex_event fault_{};
  uint64_t interrupts_ = 0;
};

}  // namespace diffulex
