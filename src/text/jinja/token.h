// What a template's source is made of.
#pragma once

#include <cstdint>
#include <string>

namespace diffulex::jinja {

enum class TokenType : uint8_t {
  kText,       // outside of tags; text is what gets printed
  kOpenPrint,  // {{
  kClosePrint,
  kOpenTag,  // {%
  kCloseTag,
  kName,
  kString,   // text is what the literal stands for
  kInteger,  // text is the number in base ten
  kReal,
  kSign,  // operators and brackets
  kEnd
};

struct Token {
  TokenType type;
  std::string text;
  int line;
};

}  // namespace diffulex::jinja
