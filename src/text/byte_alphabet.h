// The GPT-2 byte alphabet: a printable character for every byte.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace diffulex::text {

class ByteAlphabet {
 public:
  ByteAlphabet();

  uint32_t character(uint8_t byte) const { return characters_[byte]; }

  // The character of `byte` as UTF-8.
  std::string spell(uint8_t byte) const;

  // Whether every character of the valid UTF-8 stands for a byte.
  bool spells(std::string_view text) const;

  // The bytes that valid UTF-8 stands for. Text with a character of no byte stands for itself.
  std::string to_bytes(std::string_view spelled) const;

 private:
  static constexpr uint32_t kEnd = 0x144;  // behind the last character
  std::array<uint32_t, 256> characters_{};
  std::array<int16_t, kEnd> bytes_{};
};

}  // namespace diffulex::text
