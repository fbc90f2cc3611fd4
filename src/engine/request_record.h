// What other threads read of a request. The owner thread publishes at step boundaries; readers
// copy. Both hold the record's mutex for the copy only, never during a forward.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "diffulex.h"
#include "text/detokenizer.h"

namespace diffulex {

struct RequestRecord {
  uint64_t id = 0;  // set before anybody else sees the record

  std::mutex mutex;  // guards everything below
  diffulex_request_info info{};
  std::vector<diffulex_token> output;  // [info.committed_len], capacity for the longest output
  bool track_slots = false;

  // The canvas, from the block that holds the end of the prompt on. Committed parts never change
  // again.
  uint32_t first_position = 0;
  uint64_t step = 0;
  std::vector<diffulex_slot> slots;    // capacity for the longest output
  std::vector<diffulex_block> blocks;  // likewise
  uint32_t window_block = 0;  // index in blocks of the window's first block at the last publication

  // Committed text, decoded when somebody reads it.
  std::unique_ptr<text::Detokenizer> detokenizer;  // null: the model has no tokenizer
  std::string text;
  size_t decoded = 0;  // output tokens that are in text
  bool flushed = false;
  // Decodes the next output tokens, or throws std::bad_alloc and does nothing.
  void decode(std::span<const diffulex_token> next) {
    text::Detokenizer ahead = *detokenizer;
    text += ahead.push(next);
    *detokenizer = std::move(ahead);
    decoded += next.size();
  }
  size_t text_end = SIZE_MAX;  // readers get no more of text: behind it a stop string has begun

  // Asked to end. A list through the records, so that it takes no memory; guarded by the engine's
  // inbox mutex.
  std::shared_ptr<RequestRecord> next_abort;
  bool abort_asked = false;

  // Events nobody has taken yet, merged. The queue is a list through the records; guarded by the
  // queue's mutex.
  std::shared_ptr<RequestRecord> next_event;
  bool queued = false;
  bool released = false;  // the id is dead: no more events
  uint32_t pending = 0;   // DIFFULEX_EVENT_* bits
  diffulex_event latest{};
};

}  // namespace diffulex
