#include "text/byte_alphabet.h"

#include "text/utf8.h"

namespace diffulex::text {
namespace {

bool stands_for_itself(uint32_t byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

}  // namespace

ByteAlphabet::ByteAlphabet() {
  bytes_.fill(-1);
  uint32_t next = 0x100;
  for (uint32_t byte = 0; byte < 256; ++byte) {
    characters_[byte] = stands_for_itself(byte) ? byte : next++;
    bytes_[characters_[byte]] = static_cast<int16_t>(byte);
  }
}

std::string ByteAlphabet::spell(uint8_t byte) const {
  std::string out;
  append_utf8(characters_[byte], out);
  return out;
}

bool ByteAlphabet::spells(std::string_view text) const {
  for (size_t pos = 0; pos < text.size();) {
    const Utf8Unit unit = read_utf8(text, pos);
    if (unit.code >= kEnd || bytes_[unit.code] < 0) return false;
    pos += unit.size;
  }
  return true;
}

std::string ByteAlphabet::to_bytes(std::string_view spelled) const {
  std::string out;
  out.reserve(spelled.size());
  for (size_t pos = 0; pos < spelled.size();) {
    const Utf8Unit unit = read_utf8(spelled, pos);
    if (unit.code >= kEnd || bytes_[unit.code] < 0) return std::string(spelled);
    out.push_back(static_cast<char>(bytes_[unit.code]));
    pos += unit.size;
  }
  return out;
}

}  // namespace diffulex::text
