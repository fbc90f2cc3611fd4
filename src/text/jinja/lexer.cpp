#include "text/jinja/lexer.h"

#include <algorithm>
#include <array>
#include <optional>
#include <string>
#include <utility>

#include "text/jinja/characters.h"
#include "text/jinja/failure.h"
#include "text/jinja/literal.h"
#include "text/utf8.h"

namespace diffulex::jinja {
namespace {

// Ends of lines as '\n' alone, without the last one.
std::string normalize_lines(std::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    const bool pair = source[i] == '\r' && i + 1 < source.size() && source[i + 1] == '\n';
    if (!pair) out += source[i] == '\r' ? '\n' : source[i];
  }
  if (out.ends_with('\n')) out.pop_back();
  return out;
}

bool is_name_byte(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

constexpr std::array<std::string_view, 6> kLongSigns = {"//", "**", "==", "!=", ">=", "<="};

class Lexer {
 public:
  Lexer(std::string source, Position* position)
      : source_(std::move(source)), rest_(source_), position_(*position) {}

  std::vector<Token> run() {
    while (!rest_.empty()) read_text();
    add(TokenType::kEnd, "");
    return std::move(tokens_);
  }

 private:
  void add(TokenType type, std::string text) {
    tokens_.push_back({type, std::move(text), position_.line});
  }

  void skip(size_t count) {
    position_.line += static_cast<int>(std::count(rest_.begin(), rest_.begin() + count, '\n'));
    rest_.remove_prefix(count);
  }

  void skip_spaces() { skip(rest_.size() - strip(rest_, {}, Side::kLeft).size()); }

  // Text up to the next tag, and that tag.
  void read_text() {
    const size_t at = find_tag();
    const std::string_view text = rest_.substr(0, at);
    if (at == std::string_view::npos) {
      put_text(text);
      return skip(text.size());
    }
    const char kind = rest_[at + 1];
    const char mark = at + 2 < rest_.size() ? rest_[at + 2] : '\0';
    put_text(text_before(text, kind, mark));
    skip(at + (mark == '-' || mark == '+' ? 3 : 2));
    if (kind == '#') return read_comment();
    if (kind == '%' && read_raw()) return;
    read_tag(kind == '{');
  }

  size_t find_tag() const {
    for (size_t at = rest_.find('{'); at != std::string_view::npos; at = rest_.find('{', at + 1)) {
      const char next = at + 1 < rest_.size() ? rest_[at + 1] : '\0';
      if (next == '{' || next == '%' || next == '#') return at;
    }
    return std::string_view::npos;
  }

  void put_text(std::string_view text) {
    if (!text.empty()) add(TokenType::kText, std::string(text));
  }

  // What is left of a text in front of a tag.
  std::string_view text_before(std::string_view text, char kind, char mark) const {
    if (mark == '-') return strip(text, {}, Side::kRight);
    if (mark == '+' || kind == '{') return text;
    const size_t line = text.rfind('\n');
    if (line == std::string_view::npos && !at_line_start_) return text;
    const size_t begin = line == std::string_view::npos ? 0 : line + 1;
    const bool blank = strip(text.substr(begin), {}, Side::kLeft).empty();
    return blank ? text.substr(0, begin) : text;
  }

  // Behind an opened comment.
  void read_comment() {
    const size_t end = rest_.find("#}");
    if (end == std::string_view::npos) fail("a comment is not closed");
    const char mark = end > 0 ? rest_[end - 1] : '\0';
    skip(end + 2);
    after_tag(mark, true);
  }

  // What a tag takes of the text behind it.
  void after_tag(char mark, bool takes_line_end) {
    at_line_start_ = false;
    const size_t before = rest_.size();
    const char* begin = rest_.data();
    if (mark == '-') {
      skip_spaces();
    } else if (mark != '+' && takes_line_end && rest_.starts_with('\n')) {
      skip(1);
    }
    const size_t taken = before - rest_.size();
    if (taken > 0) at_line_start_ = begin[taken - 1] == '\n';
  }

  // Tries {% raw %}, whose text knows no tags up to {% endraw %}.
  bool read_raw() {
    const std::optional<Closing> open = closing(rest_, "raw");
    if (!open) return false;
    skip(open->size);
    after_tag(open->mark, false);
    for (size_t at = rest_.find("{%"); at != std::string_view::npos;
         at = rest_.find("{%", at + 1)) {
      std::string_view tag = rest_.substr(at + 2);
      const char mark = tag.empty() ? '\0' : tag.front();
      if (mark == '-' || mark == '+') tag.remove_prefix(1);
      const std::optional<Closing> end = closing(tag, "endraw");
      if (!end) continue;
      put_text(text_before(rest_.substr(0, at), '%', mark));
      skip(static_cast<size_t>(tag.data() - rest_.data()) + end->size);
      after_tag(end->mark, true);
      return true;
    }
    fail("a raw block is not closed");
  }

  struct Closing {
    size_t size;
    char mark;
  };

  // Whether a tag holds this one word; where it ends.
  static std::optional<Closing> closing(std::string_view tag, std::string_view word) {
    const std::string_view inside = strip(tag, {}, Side::kLeft);
    if (!inside.starts_with(word)) return std::nullopt;
    std::string_view end = strip(inside.substr(word.size()), {}, Side::kLeft);
    const char mark = end.empty() ? '\0' : end.front();
    if (mark == '-' || (mark == '+' && word == "endraw")) end.remove_prefix(1);
    if (!end.starts_with("%}")) return std::nullopt;
    return Closing{static_cast<size_t>(end.data() - tag.data()) + 2, mark};
  }

  // Behind an opened tag. Inside of brackets nothing ends it.
  void read_tag(bool prints) {
    add(prints ? TokenType::kOpenPrint : TokenType::kOpenTag, "");
    const std::string_view end = prints ? "}}" : "%}";
    brackets_.clear();
    while (true) {
      if (rest_.empty()) fail("a tag is not closed");
      if (brackets_.empty() && close_tag(end)) return;
      read_token();
    }
  }

  bool close_tag(std::string_view end) {
    const bool prints = end == "}}";
    const char mark = rest_.front();
    const bool marked = mark == '-' || (mark == '+' && !prints);
    if (!rest_.substr(marked ? 1 : 0).starts_with(end)) return false;
    add(prints ? TokenType::kClosePrint : TokenType::kCloseTag, "");
    skip(marked ? 3 : 2);
    after_tag(mark, !prints);
    return true;
  }

  void read_token() {
    const text::Utf8Unit unit = text::read_utf8(rest_, 0);
    const bool after_point = !tokens_.empty() && tokens_.back().type == TokenType::kSign &&
                             tokens_.back().text == "." && rest_.data()[-1] == '.';
    if (is_space(unit.code)) return skip_spaces();
    if (rest_.front() == '"' || rest_.front() == '\'') return read_string();
    if (rest_.front() >= '0' && rest_.front() <= '9') return read_number(after_point);
    if (is_name_byte(rest_.front()) || text::is_word(unit.code)) return read_name();
    read_sign();
  }

  void read_string() {
    const Literal literal = read_string_literal(rest_);
    add(TokenType::kString, literal.value);
    skip(literal.size);
  }

  void read_number(bool after_point) {
    const Literal literal = read_number_literal(rest_, after_point);
    add(literal.is_real ? TokenType::kReal : TokenType::kInteger, literal.value);
    skip(literal.size);
  }

  void read_name() {
    size_t size = 0;
    while (size < rest_.size()) {
      const text::Utf8Unit unit = text::read_utf8(rest_, size);
      if (!is_name_byte(rest_[size]) && !(unit.code >= 0x80 && text::is_word(unit.code))) break;
      size += unit.size;
    }
    add(TokenType::kName, std::string(rest_.substr(0, size)));
    skip(size);
  }

  void read_sign() {
    constexpr std::string_view kSigns = "+-/*%~[](){}><=.:|,;";
    const bool is_long =
        std::any_of(kLongSigns.begin(), kLongSigns.end(),
                    [&](std::string_view sign) { return rest_.starts_with(sign); });
    if (!is_long && kSigns.find(rest_.front()) == std::string_view::npos)
      fail("'" + std::string(rest_.substr(0, text::read_utf8(rest_, 0).size)) +
           "' has no meaning in a tag");
    const std::string sign(rest_.substr(0, is_long ? 2 : 1));
    balance(sign.front());
    add(TokenType::kSign, sign);
    skip(sign.size());
  }

  void balance(char sign) {
    constexpr std::string_view kOpening = "([{", kClosing = ")]}";
    if (kOpening.find(sign) != std::string_view::npos) brackets_ += sign;
    const size_t kind = kClosing.find(sign);
    if (kind == std::string_view::npos) return;
    if (brackets_.empty() || brackets_.back() != kOpening[kind])
      fail(std::string("'") + sign + "' closes nothing");
    brackets_.pop_back();
  }

  std::string source_;
  std::string_view rest_;  // not read yet
  Position& position_;
  bool at_line_start_ = true;  // rest_ begins a line, as far as the last tag knows
  std::string brackets_;       // open ones in the tag
  std::vector<Token> tokens_;
};

}  // namespace

std::vector<Token> tokenize(std::string_view source, Position* position) {
  return Lexer(normalize_lines(source), position).run();
}

}  // namespace diffulex::jinja
