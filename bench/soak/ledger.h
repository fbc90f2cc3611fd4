// What the event stream says about every request, and the sums over those that ended.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <unordered_map>

#include "diffulex.h"
#include "findings.h"

namespace diffulex_soak {

struct LedgerEntry {
  uint64_t committed = 0;  // sum of the deltas
  uint32_t last_committed_len = 0;
  int started = 0, finished = 0;
  diffulex_finish finish = DIFFULEX_FINISH_NONE;
};

struct LedgerTotals {
  uint64_t submitted = 0, refused = 0;  // refused: the queue was full
  uint64_t closed = 0;                  // ended, checked and released by their clients
  uint64_t events = 0, preempted_events = 0;
  uint64_t committed = 0;                         // tokens, by the events
  uint64_t read = 0;                              // tokens, as clients read them
  std::map<diffulex_finish, uint64_t> by_reason;  // FINISHED events
  size_t open = 0;                                // entries that nobody has closed
};

// Thread class: any thread.
class Ledger {
 public:
  explicit Ledger(Findings& findings) : findings_(findings) {}

  void note(const diffulex_event& event);
  void submitted();
  void refused();
  bool ended(diffulex_request_id id) const;
  // Forgets a request that ended; read: its tokens as the client read them.
  LedgerEntry close(diffulex_request_id id, uint64_t read);
  LedgerTotals totals() const;
  uint64_t live() const;  // submitted and not ended

 private:
  void note_request(LedgerEntry& entry, const diffulex_event& event);

  Findings& findings_;
  mutable std::mutex mutex_;  // guards both below
  std::unordered_map<diffulex_request_id, LedgerEntry> entries_;
  LedgerTotals totals_;
};

}  // namespace diffulex_soak
