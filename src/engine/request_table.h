// Generational ids: an id names one request for ever; a slot of the table is used again under a new
// generation.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "engine/request_record.h"

namespace diffulex {

// Thread-safe.
class RequestTable {
 public:
  uint64_t add(std::shared_ptr<RequestRecord> record) {
    const std::lock_guard lock(mutex_);
    if (free_.empty()) {
      if (free_.capacity() <= slots_.size())
        free_.reserve(2 * slots_.size() + 1);  // so that remove() takes no memory
      slots_.emplace_back();
      free_.push_back(static_cast<uint32_t>(slots_.size()) - 1);
    }
    const uint32_t index = free_.back();
    free_.pop_back();
    Slot& slot = slots_[index];
    record->id = uint64_t{slot.generation} << 32 | (uint64_t{index} + 1);
    slot.record = std::move(record);
    return slot.record->id;
  }

  // Null for ids that are unknown or dead.
  std::shared_ptr<RequestRecord> find(uint64_t id) const {
    const std::lock_guard lock(mutex_);
    const Slot* slot = slot_of(id);
    return slot != nullptr ? slot->record : nullptr;
  }

  std::shared_ptr<RequestRecord> remove(uint64_t id) {
    const std::lock_guard lock(mutex_);
    auto* slot = const_cast<Slot*>(slot_of(id));
    if (slot == nullptr) return nullptr;
    free_.push_back(static_cast<uint32_t>(id & 0xffffffffu) - 1);
    ++slot->generation;
    return std::move(slot->record);
  }

 private:
  struct Slot {
    uint32_t generation = 1;
    std::shared_ptr<RequestRecord> record;
  };
  const Slot* slot_of(uint64_t id) const {
    const uint64_t index = (id & 0xffffffffu) - 1;
    if (index >= slots_.size()) return nullptr;
    const Slot& slot = slots_[index];
    return slot.generation == id >> 32 && slot.record != nullptr ? &slot : nullptr;
  }

  mutable std::mutex mutex_;
  std::vector<Slot> slots_;
  std::vector<uint32_t> free_;
};

}  // namespace diffulex
