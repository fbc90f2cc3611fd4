// Tokens that are found in text as a whole, before it is cut into pieces.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace diffulex::text {

struct AddedToken {
  int32_t id = -1;
  std::string content;
  bool single_word = false;  // no match next to a word character
  bool lstrip = false;       // takes the white space before it
  bool rstrip = false;       // takes the white space behind it
  bool normalized = false;   // is looked for in normalised text
  bool special = false;
};

// Finds a set of tokens in text as the tokenizers package does: leftmost first, of those the
// longest. What rstrip takes is searched too, so a token there is found a second time; what is
// found and then refused hides the shorter tokens in it.
class AddedTokenMatcher {
 public:
  void add(std::string_view content, const AddedToken& token);

  struct Segment {
    std::string_view text;
    int32_t token;  // -1: plain text
  };

  // Appends the segments of valid UTF-8, without empty plain text. Special tokens are refused
  // without parse_special.
  void split(std::string_view text, bool parse_special, std::vector<Segment>& out) const;

 private:
  struct Node {
    uint8_t byte = 0;
    int32_t child = -1;    // first
    int32_t sibling = -1;  // next
    int32_t rule = -1;     // of the token that ends here
  };
  struct Rule {
    int32_t id;
    bool single_word, lstrip, rstrip, special;
  };
  static constexpr std::array<int32_t, 256> filled(int32_t value) {
    std::array<int32_t, 256> out{};
    out.fill(value);
    return out;
  }
  struct Match {
    size_t size;  // 0: none
    int32_t rule;
  };

  int32_t child_of(int32_t node, uint8_t byte) const;
  size_t next_start(std::string_view text, size_t pos) const;
  Match longest_at(std::string_view text, size_t pos) const;

  std::vector<Node> nodes_ = std::vector<Node>(1);
  std::vector<Rule> rules_;
  std::array<int32_t, 256> starts_ = filled(-1);  // the nodes of first bytes
};

}  // namespace diffulex::text
