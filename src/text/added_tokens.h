// Tokens that are found in the text before anything else: special ones and others that the files
// add to the vocabulary.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace diffulex::text {

struct AddedToken {
  int32_t id = -1;
  std::string content;
  bool single_word = false;  // only between characters that are not word characters
  bool lstrip = false;       // swallows blanks on its left
  bool rstrip = false;       // likewise on its right
  bool normalized = false;   // looked for in the normalised text
  bool special = false;
};

// Cuts `text` at the tokens that `wanted` accepts: the leftmost first, at one place the longest.
// Pieces without a token have token
// == nullptr.
struct Piece {
  std::string_view text;
  const AddedToken* token;
};
std::vector<Piece> split_at_tokens(std::string_view text, const std::vector<AddedToken>& tokens,
                                   const std::function<bool(const AddedToken&)>& wanted);

}  // namespace diffulex::text
