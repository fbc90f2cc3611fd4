#include <string>

#include "text/jinja/failure.h"
#include "text/jinja/parser.h"

namespace diffulex::jinja {

const Token& TokenReader::next() {
  const Token& token = peek();
  position_.line = token.line;
  if (at_ + 1 < tokens_.size()) ++at_;
  return token;
}

bool TokenReader::skip_sign(std::string_view sign) {
  if (!at_sign(sign)) return false;
  next();
  return true;
}

bool TokenReader::skip_name(std::string_view name) {
  if (!at_name(name)) return false;
  next();
  return true;
}

void TokenReader::expect_sign(std::string_view sign) {
  if (!skip_sign(sign)) unexpected("'" + std::string(sign) + "'");
}

void TokenReader::expect(TokenType type) {
  if (!at(type)) unexpected(type == TokenType::kClosePrint ? "'}}'" : "'%}'");
  next();
}

std::string TokenReader::expect_name() {
  if (!at(TokenType::kName)) unexpected("a name");
  return next().text;
}

void TokenReader::unexpected(std::string_view wanted) const {
  position_.line = line();
  std::string found = "'" + peek().text + "'";
  if (at(TokenType::kEnd)) found = "the end of the template";
  if (at(TokenType::kClosePrint) || at(TokenType::kCloseTag)) found = "the end of the tag";
  fail("expected " + std::string(wanted) + ", found " + found);
}

TokenReader::Level::Level(TokenReader* reader) : reader_(reader) {
  if (reader_->depth_ >= kMaxTreeDepth) {
    reader_->position_.line = reader_->line();
    fail("the template is nested too deeply");
  }
  ++reader_->depth_;
}

}  // namespace diffulex::jinja
