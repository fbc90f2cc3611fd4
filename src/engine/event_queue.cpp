#include "engine/event_queue.h"

#include <chrono>

namespace diffulex {
namespace {

// The order in which merged events of one request are told.
constexpr diffulex_event_type kOrder[] = {DIFFULEX_EVENT_STARTED, DIFFULEX_EVENT_PREEMPTED, DIFFULEX_EVENT_COMMIT,
                                          DIFFULEX_EVENT_REVISION, DIFFULEX_EVENT_FINISHED};

}  // namespace

// One by one: a long list would otherwise destroy itself recursively.
EventQueue::~EventQueue() {
  while (head_ != nullptr) {
    std::shared_ptr<RequestRecord> next = std::move(head_->next_event);
    head_ = std::move(next);
  }
}

void EventQueue::push(const std::shared_ptr<RequestRecord>& record, const diffulex_event& event) {
  const uint32_t kinds = static_cast<uint32_t>(event.type) & mask_;
  if (kinds == 0) return;
  {
    const std::lock_guard lock(mutex_);
    if (record->released) return;
    const uint32_t delta = (record->pending & DIFFULEX_EVENT_COMMIT) != 0 ? record->latest.committed_delta : 0;
    record->latest = event;
    record->latest.committed_delta += delta;
    record->pending |= kinds;
    if (!record->queued) {
      record->queued = true;
      if (tail_ == nullptr) {
        head_ = record;
      } else {
        tail_->next_event = record;
      }
      tail_ = record.get();
    }
  }
  changed_.notify_one();
}

void EventQueue::push_fault(const diffulex_event& event) {
  {
    const std::lock_guard lock(mutex_);
    fault_ = event;
    fault_pending_ = true;
  }
  changed_.notify_all();
}

void EventQueue::drop(RequestRecord& record) {
  const std::lock_guard lock(mutex_);
  record.pending = 0;  // the empty entry is skipped when it is reached
  record.released = true;
}

size_t EventQueue::take_pending(size_t capacity, const std::function<void(size_t, const diffulex_event&)>& take) {
  size_t count = 0;
  if (fault_pending_ && count < capacity) {
    take(count++, fault_);
    fault_pending_ = false;
  }
  while (head_ != nullptr && count < capacity) {
    RequestRecord& record = *head_;
    for (const diffulex_event_type kind : kOrder) {
      if ((record.pending & static_cast<uint32_t>(kind)) == 0 || count == capacity) continue;
      diffulex_event event = record.latest;
      event.type = kind;
      if (kind != DIFFULEX_EVENT_COMMIT) event.committed_delta = 0;
      if (kind != DIFFULEX_EVENT_FINISHED) event.finish = DIFFULEX_FINISH_NONE, event.status = DIFFULEX_OK;
      record.pending &= ~static_cast<uint32_t>(kind);
      take(count++, event);
    }
    if (record.pending != 0) break;
    record.queued = false;
    record.latest.committed_delta = 0;
    std::shared_ptr<RequestRecord> next = std::move(record.next_event);
    head_ = std::move(next);
    if (head_ == nullptr) tail_ = nullptr;
  }
  return count;
}

size_t EventQueue::wait(size_t capacity, int64_t timeout_ms,
                        const std::function<void(size_t, const diffulex_event&)>& take) {
  std::unique_lock lock(mutex_);
  const uint64_t interrupts = interrupts_;
  const auto awake = [&] { return ready() || interrupts_ != interrupts; };
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(timeout_ms);
  while (true) {
    if (timeout_ms < 0) {
      changed_.wait(lock, awake);
    } else if (!changed_.wait_until(lock, deadline, awake)) {
      return 0;
    }
    const size_t count = take_pending(capacity, take);
    if (count > 0 || interrupts_ != interrupts) return count;
  }
}

void EventQueue::interrupt() {
  {
    const std::lock_guard lock(mutex_);
    ++interrupts_;
  }
  changed_.notify_all();
}

}  // namespace diffulex
