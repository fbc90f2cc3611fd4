#include "text/byte_alphabet.h"

#include "text/utf8.h"

namespace diffulex::text {
namespace {

constexpr int kCodes =
    324;  // 256 bytes; those without a printable form of their own follow from 256 on

// Code point -> byte, -1 where there is none. Printable Latin-1 stands for itself.
std::array<int16_t, kCodes> make_alphabet() {
  std::array<int16_t, kCodes> alphabet{};
  alphabet.fill(-1);
  int extra = 256;
  for (int byte = 0; byte < 256; ++byte) {
    const bool printable =
        (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
    alphabet[static_cast<size_t>(printable ? byte : extra++)] = static_cast<int16_t>(byte);
  }
  return alphabet;
}

}  // namespace

std::optional<std::string> bytes_of_spelling(std::string_view spelling) {
  static const std::array<int16_t, kCodes> alphabet = make_alphabet();
  std::string bytes;
  while (!spelling.empty()) {
    const Utf8Unit unit = next_unit(spelling);
    if (!unit.valid || unit.length > 2) return std::nullopt;
    const auto first = static_cast<unsigned char>(spelling[0]);
    const unsigned code =
        unit.length == 1 ? first
                         : (first & 0x1Fu) << 6 | (static_cast<unsigned char>(spelling[1]) & 0x3Fu);
    if (code >= kCodes || alphabet[code] < 0) return std::nullopt;
    bytes += static_cast<char>(alphabet[code]);
    spelling.remove_prefix(unit.length);
  }
  return bytes;
}

}  // namespace diffulex::text
