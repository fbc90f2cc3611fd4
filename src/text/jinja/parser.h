// Tokens into trees: what statements and expressions have in common.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/jinja/ast.h"
#include "text/jinja/lexer.h"
#include "text/jinja/token.h"

namespace diffulex::jinja {

// Trees deeper than this are refused, so they may be walked by recursion.
inline constexpr int kMaxTreeDepth = 150;

// Reads tokens one after the other. Throws Failure; *position then tells the line.
class TokenReader {
 public:
  TokenReader(std::vector<Token> tokens, Position* position)
      : tokens_(std::move(tokens)), position_(*position) {}

  const Token& peek(size_t ahead = 0) const {
    return tokens_[std::min(at_ + ahead, tokens_.size() - 1)];
  }
  const Token& next();
  int line() const { return peek().line; }

  bool at(TokenType type) const { return peek().type == type; }
  bool at_sign(std::string_view sign) const { return is_sign(peek(), sign); }
  bool at_name(std::string_view name) const { return is_name(peek(), name); }
  bool skip_sign(std::string_view sign);
  bool skip_name(std::string_view name);
  void expect_sign(std::string_view sign);
  void expect(TokenType type);
  std::string expect_name();

  [[noreturn]] void unexpected(std::string_view wanted) const;

  static bool is_sign(const Token& token, std::string_view sign) {
    return token.type == TokenType::kSign && token.text == sign;
  }
  static bool is_name(const Token& token, std::string_view name) {
    return token.type == TokenType::kName && token.text == name;
  }

  // One level deeper while it lives, for parsers that call themselves.
  class Level {
   public:
    explicit Level(TokenReader* reader);
    ~Level() { --reader_->depth_; }
    Level(const Level&) = delete;
    Level& operator=(const Level&) = delete;

   private:
    TokenReader* reader_;
  };

 private:
  std::vector<Token> tokens_;  // ends with kEnd
  Position& position_;
  size_t at_ = 0;
  int depth_ = 0;
};

}  // namespace diffulex::jinja
