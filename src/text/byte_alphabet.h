// The GPT-2 byte alphabet: every byte as a printable code point, as the files spell byte-level
// tokens.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace diffulex::text {

// The bytes that a token's spelling stands for; nothing when it holds a code point outside the
// alphabet.
std::optional<std::string> bytes_of_spelling(std::string_view spelling);

}  // namespace diffulex::text
