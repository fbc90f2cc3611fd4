#include "text/piece_table.h"

#include <algorithm>
#include <bit>

namespace diffulex::text {

PieceTable::PieceTable(size_t capacity)
    : slots_(std::bit_ceil(std::max<size_t>(16, capacity + capacity / 2)), Slot{0, 0, 0}),
      mask_(slots_.size() - 1),
      shift_(64 - std::countr_zero(slots_.size())) {}

void PieceTable::add(std::string_view piece, int32_t id) {
  const Key key = key_of(piece);
  Slot& slot_of_piece = slots_[slot(key)];
  if (slot_of_piece.tail != 0) return;
  slot_of_piece = {key.head, key.middle, (static_cast<uint32_t>(id + 1) << kSizeBits) | key.size};
}

}  // namespace diffulex::text
