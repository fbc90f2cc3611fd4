#include "ledger.h"

#include <string>

namespace diffulex_soak {

// An event may come before its submitter has got the id, so entries make themselves.
void Ledger::note(const diffulex_event& event) {
  if (event.type == DIFFULEX_EVENT_ENGINE_FAULT) {
    findings_.add(std::string("the engine failed: ") + diffulex_status_name(event.status));
    return;
  }
  const std::lock_guard lock(mutex_);
  ++totals_.events;
  note_request(entries_[event.request], event);
}

void Ledger::note_request(LedgerEntry& entry, const diffulex_event& event) {
  const std::string who = "request " + std::to_string(event.request) + ": ";
  findings_.expect(entry.finished == 0, who + "an event behind its end");
  findings_.expect(event.committed_len >= entry.last_committed_len, who + "committed_len fell");
  entry.last_committed_len = event.committed_len;
  if (event.type == DIFFULEX_EVENT_PREEMPTED) ++totals_.preempted_events;
  if (event.type == DIFFULEX_EVENT_STARTED)
    findings_.expect(++entry.started == 1, who + "started twice");
  if (event.type == DIFFULEX_EVENT_COMMIT) {
    entry.committed += event.committed_delta;
    totals_.committed += event.committed_delta;
  }
  if (event.type != DIFFULEX_EVENT_FINISHED) return;
  ++entry.finished;
  ++totals_.by_reason[event.finish];
  entry.finish = event.finish;
  findings_.expect(event.finish != DIFFULEX_FINISH_NONE, who + "ended without a reason");
  findings_.expect(event.finish != DIFFULEX_FINISH_ERROR,
                   who + "ended with " + diffulex_status_name(event.status));
  findings_.expect(entry.committed == event.committed_len,
                   who + "the deltas do not add up to committed_len");
}

void Ledger::submitted() {
  const std::lock_guard lock(mutex_);
  ++totals_.submitted;
}

void Ledger::refused() {
  const std::lock_guard lock(mutex_);
  ++totals_.refused;
}

bool Ledger::ended(diffulex_request_id id) const {
  const std::lock_guard lock(mutex_);
  const auto entry = entries_.find(id);
  return entry != entries_.end() && entry->second.finished > 0;
}

LedgerEntry Ledger::close(diffulex_request_id id, uint64_t read) {
  const std::lock_guard lock(mutex_);
  const LedgerEntry entry = entries_[id];
  entries_.erase(id);
  ++totals_.closed;
  totals_.read += read;
  return entry;
}

LedgerTotals Ledger::totals() const {
  const std::lock_guard lock(mutex_);
  LedgerTotals totals = totals_;
  totals.open = entries_.size();
  return totals;
}

uint64_t Ledger::live() const {
  const LedgerTotals t = totals();
  uint64_t ended = 0;
  for (const auto& [reason, count] : t.by_reason) ended += count;
  return t.submitted > ended ? t.submitted - ended : 0;
}

}  // namespace diffulex_soak
