// The tokens of a vocabulary: bytes and flags by id, ids by bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace diffulex::text {

class TokenTable {
 public:
  struct Entry {
    std::string bytes;  // empty: no token has this id
    bool special = false;
    bool piece = false;  // of the vocabulary, in the byte alphabet: a piece of text may be it
  };

  explicit TokenTable(const std::vector<Entry>& entries);
  TokenTable(const TokenTable&) = delete;  // the index points into the bytes
  TokenTable& operator=(const TokenTable&) = delete;

  int32_t size() const { return static_cast<int32_t>(special_.size()); }
  bool contains(int32_t id) const { return id >= 0 && id < size(); }

  // The id must be contained.
  std::string_view bytes(int32_t id) const;
  bool special(int32_t id) const { return special_[static_cast<size_t>(id)] != 0; }

  bool piece(int32_t id) const { return piece_[static_cast<size_t>(id)] != 0; }

  // -1: none.
  int32_t find(std::string_view bytes) const;
  int32_t find_piece(std::string_view bytes) const;

 private:
  std::string bytes_;
  std::vector<size_t> offsets_;
  std::vector<uint8_t> special_, piece_;
  std::unordered_map<std::string_view, int32_t> ids_;
};

}  // namespace diffulex::text
