#include "text/jinja/statement_parser.h"

#include <algorithm>
#include <array>
#include <memory>

namespace diffulex::jinja {
namespace {

using Type = Stmt::Type;
using Allowed = ExpressionParser::Allowed;

class StatementParser {
 public:
  StatementParser(TokenReader* tokens, Budget* budget)
      : tokens_(*tokens), expressions_(tokens, budget) {}

  Block parse() {
    Block all = parse_until({});
    if (!tokens_.at(TokenType::kEnd)) tokens_.unexpected("no end of a block");
    return all;
  }

 private:
  using Node = std::unique_ptr<Stmt>;
  using Names = std::initializer_list<std::string_view>;

  Node node(Type type) const {
    auto node = std::make_unique<Stmt>();
    node->type = type;
    node->line = tokens_.line();
    return node;
  }

  // Statements up to a tag of one of the names, whose '{%' is taken and whose name is next.
  Block parse_until(Names ends) {
    const TokenReader::Level level(&tokens_);
    Block block;
    while (true) {
      switch (tokens_.peek().type) {
        case TokenType::kText:
          block.push_back(parse_text());
          break;
        case TokenType::kOpenPrint:
          block.push_back(parse_print());
          break;
        case TokenType::kOpenTag:
          tokens_.next();
          if (is_end(ends)) return block;
          block.push_back(parse_statement());
          tokens_.expect(TokenType::kCloseTag);
          break;
        default:
          if (ends.size() > 0) tokens_.unexpected("'" + std::string(*ends.begin()) + "'");
          return block;
      }
    }
  }

  bool is_end(Names ends) const {
    return std::any_of(ends.begin(), ends.end(),
                       [&](std::string_view name) { return tokens_.at_name(name); });
  }

  // As above, with the closing tag of the one name taken but for its '%}'.
  Block parse_body(std::string_view end) {
    tokens_.expect(TokenType::kCloseTag);
    Block body = parse_until({end});
    tokens_.next();
    return body;
  }

  // A body whose own break and continue must not leave it.
  Block parse_captured_body(std::string_view end) {
    const int loops = std::exchange(loops_, 0);
    Block body = parse_body(end);
    loops_ = loops;
    return body;
  }

  Node parse_text() {
    Node made = node(Type::kText);
    made->text = tokens_.next().text;
    return made;
  }

  Node parse_print() {
    tokens_.next();
    Node made = node(Type::kPrint);
    made->value = expressions_.parse_tuple();
    tokens_.expect(TokenType::kClosePrint);
    return made;
  }

  Node parse_statement() {
    struct Tag {
      std::string_view name;
      Node (StatementParser::*parse)();
    };
    constexpr std::array<Tag, 9> kTags = {{{"set", &StatementParser::parse_set},
                                           {"if", &StatementParser::parse_if},
                                           {"for", &StatementParser::parse_for},
                                           {"macro", &StatementParser::parse_macro},
                                           {"filter", &StatementParser::parse_filter},
                                           {"with", &StatementParser::parse_with},
                                           {"generation", &StatementParser::parse_generation},
                                           {"break", &StatementParser::parse_jump},
                                           {"continue", &StatementParser::parse_jump}}};
    for (const Tag& tag : kTags)
      if (tokens_.at_name(tag.name)) return (this->*tag.parse)();
    refuse_tag();
  }

  [[noreturn]] void refuse_tag() {
    constexpr std::array<std::string_view, 9> kKnown = {
        "block", "extends", "include", "import", "from", "call", "autoescape", "print", "do"};
    const std::string name = tokens_.expect_name();
    if (std::find(kKnown.begin(), kKnown.end(), name) != kKnown.end())
      refuse("the tag '" + name + "'");
    if (name.starts_with("end") || name.starts_with("el")) fail("'" + name + "' ends nothing here");
    refuse("the unknown tag '" + name + "'");
  }

  Node parse_set() {
    Node made = node(Type::kSet);
    tokens_.next();
    made->target = expressions_.parse_settable_target();
    if (tokens_.skip_sign("=")) {
      made->value = expressions_.parse_tuple();
      return made;
    }
    made->type = Type::kSetBlock;
    made->value = expressions_.parse_filters_of_captured(true);
    made->body = parse_captured_body("endset");
    return made;
  }

  Node parse_if() {
    Node made = node(Type::kIf);
    do {
      tokens_.next();  // if, elif
      ExprPtr condition = expressions_.parse_tuple(Allowed::kNoConditional);
      tokens_.expect(TokenType::kCloseTag);
      made->branches.push_back({std::move(condition), parse_until({"endif", "elif", "else"})});
    } while (tokens_.at_name("elif"));
    if (tokens_.skip_name("else")) {
      made->other = parse_body("endif");
    } else {
      tokens_.next();
    }
    return made;
  }

  Node parse_for() {
    Node made = node(Type::kFor);
    tokens_.next();
    made->target = expressions_.parse_target();
    refuse_loop_target(*made->target);
    if (!tokens_.skip_name("in")) tokens_.unexpected("'in'");
    made->value = expressions_.parse_tuple(Allowed::kNoConditional);
    if (tokens_.skip_name("if")) made->condition = expressions_.parse();
    if (tokens_.at_name("recursive")) refuse("a recursive for");
    tokens_.expect(TokenType::kCloseTag);
    ++loops_;
    made->body = parse_until({"endfor", "else"});
    --loops_;
    if (tokens_.skip_name("else")) {
      made->other = parse_body("endfor");
    } else {
      tokens_.next();
    }
    return made;
  }

  static void refuse_loop_target(const Expr& target) {
    if (target.name == "loop") fail("'loop' cannot be the variable of a for");
    for (const ExprPtr& child : target.children) refuse_loop_target(*child);
  }

  Node parse_macro() {
    Node made = node(Type::kMacro);
    tokens_.next();
    made->text = tokens_.expect_name();
    tokens_.expect_sign("(");
    while (!tokens_.at_sign(")")) {
      if (!made->parameters.empty()) tokens_.expect_sign(",");
      if (tokens_.at_sign(")")) break;
      made->parameters.push_back(
          parse_parameter(!made->parameters.empty() && made->parameters.back().absent != nullptr));
    }
    tokens_.next();
    ++expressions_.macros;
    made->body = parse_captured_body("endmacro");
    --expressions_.macros;
    return made;
  }

  Parameter parse_parameter(bool needs_default) {
    Parameter parameter{tokens_.expect_name(), nullptr};
    if (tokens_.skip_sign("=")) {
      parameter.absent = expressions_.parse();
    } else if (needs_default) {
      fail("the parameter '" + parameter.name + "' lacks a default, unlike one in front of it");
    }
    return parameter;
  }

  Node parse_filter() {
    Node made = node(Type::kFilter);
    tokens_.next();
    made->value = expressions_.parse_filters_of_captured(false);
    made->body = parse_captured_body("endfilter");
    return made;
  }

  Node parse_with() {
    Node made = node(Type::kWith);
    tokens_.next();
    while (!tokens_.at(TokenType::kCloseTag)) {
      if (!made->assignments.empty()) tokens_.expect_sign(",");
      ExprPtr target = expressions_.parse_target_name();
      tokens_.expect_sign("=");
      made->assignments.emplace_back(std::move(target), expressions_.parse());
    }
    made->body = parse_body("endwith");
    return made;
  }

  Node parse_generation() {
    Node made = node(Type::kScope);
    tokens_.next();
    made->body = parse_captured_body("endgeneration");
    return made;
  }

  Node parse_jump() {
    Node made = node(tokens_.at_name("break") ? Type::kBreak : Type::kContinue);
    if (loops_ == 0) fail("'" + tokens_.peek().text + "' stands in no loop");
    tokens_.next();
    return made;
  }

  TokenReader& tokens_;
  ExpressionParser expressions_;
  int loops_ = 0;  // around this place
};

}  // namespace

Block parse_template(std::string_view source, Budget* budget, Position* position) {
  TokenReader tokens(tokenize(source, position), position);
  return StatementParser(&tokens, budget).parse();
}

}  // namespace diffulex::jinja
