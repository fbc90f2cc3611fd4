#include "text/token_table.h"

namespace diffulex::text {

TokenTable::TokenTable(const std::vector<Entry>& entries) {
  offsets_.reserve(entries.size() + 1);
  special_.reserve(entries.size());
  piece_.reserve(entries.size());
  offsets_.push_back(0);
  for (const Entry& entry : entries) {
    bytes_ += entry.bytes;
    offsets_.push_back(bytes_.size());
    special_.push_back(entry.special ? 1 : 0);
    piece_.push_back(entry.piece ? 1 : 0);
  }
  ids_.reserve(entries.size());
  for (const bool pieces : {true, false}) {  // of equal bytes the piece comes first
    for (int32_t id = 0; id < size(); ++id) {
      if (piece(id) == pieces && !bytes(id).empty()) ids_.emplace(bytes(id), id);
    }
  }
}

std::string_view TokenTable::bytes(int32_t id) const {
  const auto i = static_cast<size_t>(id);
  return std::string_view(bytes_).substr(offsets_[i], offsets_[i + 1] - offsets_[i]);
}

int32_t TokenTable::find(std::string_view bytes) const {
  const auto found = ids_.find(bytes);
  return found == ids_.end() ? -1 : found->second;
}

int32_t TokenTable::find_piece(std::string_view bytes) const {
  const int32_t id = find(bytes);
  return id >= 0 && piece(id) ? id : -1;
}

}  // namespace diffulex::text
