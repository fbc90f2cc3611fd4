// What a split pattern asks of a character: letter, number, white space or none of them.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace diffulex::text {

enum class CharClass : uint8_t { kOther, kLetter, kNumber, kSpace };

class CharClassTable {
 public:
  // Built once; the first call may throw std::bad_alloc.
  static const CharClassTable& get();

  // `code` is at most U+10FFFF.
  CharClass operator[](uint32_t code) const {
    return classes_[(size_t{blocks_[code / kBlock]} * kBlock) + code % kBlock];
  }

 private:
  static constexpr uint32_t kBlock = 128;
  static constexpr uint32_t kEnd = 0x110000;

  CharClassTable();

  std::array<uint16_t, kEnd / kBlock> blocks_{};  // where in classes_; equal blocks are stored once
  std::vector<CharClass> classes_;
};

}  // namespace diffulex::text
