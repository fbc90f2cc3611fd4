// Pieces of text that become one token, by their bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <vector>

namespace diffulex::text {

// A hash table that holds its short keys itself, so that a look-up touches one cache line.
class PieceTable {
 public:
  static constexpr size_t kLongest = 12;  // bytes of a piece

  // For up to `capacity` pieces.
  explicit PieceTable(size_t capacity);

  // The piece has 1 to kLongest bytes; the id is below 2^24. The first id of a piece stays.
  void add(std::string_view piece, int32_t id);

  // -1: none. A piece may have any size.
  int32_t find(std::string_view piece) const {
    if (piece.size() > kLongest) return -1;
    const Slot& found = slots_[slot(key_of(piece))];
    return static_cast<int32_t>(found.tail >> kSizeBits) - 1;
  }

 private:
  static constexpr uint32_t kSizeBits = 4;

  struct Key {
    uint64_t head;
    uint32_t middle;
    uint32_t size;
  };
  struct Slot {
    uint64_t head;
    uint32_t middle;
    uint32_t tail;  // id + 1, then the size; 0: empty
  };

  static Key key_of(std::string_view piece) {
    Key key{0, 0, static_cast<uint32_t>(piece.size())};
    if (piece.size() > sizeof(key.head)) {
      std::memcpy(&key.head, piece.data(), sizeof(key.head));
      std::memcpy(&key.middle, piece.data() + sizeof(key.head), piece.size() - sizeof(key.head));
    } else {
      std::memcpy(&key.head, piece.data(), piece.size());
    }
    return key;
  }

  // The slot that holds the key, or the empty one where it belongs.
  size_t slot(const Key& key) const {
    const uint64_t rest = (uint64_t{key.middle} << kSizeBits) | key.size;
    size_t i = ((key.head ^ (rest * 0xC2B2AE3D27D4EB4FULL)) * 0x9E3779B97F4A7C15ULL) >> shift_;
    while (slots_[i].tail != 0 && (slots_[i].head != key.head || slots_[i].middle != key.middle ||
                                   (slots_[i].tail & ((1U << kSizeBits) - 1)) != key.size)) {
      i = (i + 1) & mask_;
    }
    return i;
  }

  std::vector<Slot> slots_;
  size_t mask_;
  int shift_;  // leaves the bits of an index, the high ones, which all others act on
};

}  // namespace diffulex::text
