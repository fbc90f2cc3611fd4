// What stands behind a value: attributes, elements, calls, filters, tests. Also targets of
// assignments.
#include <array>
#include <string>

#include "text/jinja/expression_parser.h"
#include "text/jinja/filters.h"
#include "text/jinja/number.h"
#include "text/jinja/tests.h"

namespace diffulex::jinja {

using Type = Expr::Type;

ExprPtr ExpressionParser::parse_postfix(ExprPtr value) {
  while (true) {
    if (tokens_.at_sign(".")) {
      value = parse_attribute(std::move(value));
    } else if (tokens_.at_sign("[")) {
      value = parse_subscript(std::move(value));
    } else if (tokens_.at_sign("(")) {
      value = parse_call(std::move(value));
    } else {
      return value;
    }
  }
}

ExprPtr ExpressionParser::parse_attribute(ExprPtr value) {
  tokens_.expect_sign(".");
  if (tokens_.at(TokenType::kInteger))
    return pair(Type::kElement, std::move(value), parse_number());
  Node made = node(Type::kAttribute);
  made->name = tokens_.expect_name();
  made->children.push_back(std::move(value));
  return finish(std::move(made));
}

ExprPtr ExpressionParser::parse_subscript(ExprPtr value) {
  const int line = tokens_.line();
  tokens_.expect_sign("[");
  ExprPtr key = tokens_.at_sign(":") ? nullptr : parse();
  if (tokens_.at_sign(":")) {
    value = parse_slice(std::move(value), std::move(key));
  } else {
    key = parse_tuple_rest(std::move(key), line, Allowed::kAll);
    value = pair(Type::kElement, std::move(value), std::move(key));
  }
  tokens_.expect_sign("]");
  return value;
}

ExprPtr ExpressionParser::parse_slice(ExprPtr value, ExprPtr start) {
  Node made = node(Type::kSlice);
  made->children.push_back(std::move(value));
  made->children.push_back(std::move(start));
  while (made->children.size() < 4) {
    const bool given = tokens_.skip_sign(":") && !tokens_.at_sign(":") && !tokens_.at_sign("]");
    made->children.push_back(given ? parse() : nullptr);
  }
  return finish(std::move(made));
}

ExprPtr ExpressionParser::parse_call(ExprPtr callee) {
  Node made = node(Type::kCall);
  made->children.push_back(std::move(callee));
  parse_arguments(made.get());
  return finish(std::move(made));
}

void ExpressionParser::parse_arguments(Expr* into) {
  tokens_.expect_sign("(");
  bool first = true;
  while (!tokens_.at_sign(")")) {
    if (!std::exchange(first, false)) tokens_.expect_sign(",");
    if (tokens_.at_sign(")")) break;
    if (tokens_.at_sign("*") || tokens_.at_sign("**")) refuse("passing on arguments by * or **");
    const bool named = tokens_.at(TokenType::kName) && TokenReader::is_sign(tokens_.peek(1), "=");
    if (!named && !into->named.empty()) fail("an argument without a name follows a named one");
    if (!named) {
      into->children.push_back(parse());
      continue;
    }
    const std::string name = tokens_.expect_name();
    tokens_.expect_sign("=");
    into->named.emplace_back(name, parse());
  }
  tokens_.expect_sign(")");
}

// Calls may stand behind filters and tests, too.
ExprPtr ExpressionParser::parse_filters(ExprPtr value) {
  while (true) {
    if (tokens_.at_sign("|")) {
      tokens_.next();
      value = parse_filter(std::move(value));
    } else if (tokens_.at_name("is")) {
      tokens_.next();
      value = parse_test(std::move(value));
    } else if (tokens_.at_sign("(")) {
      value = parse_call(std::move(value));
    } else {
      return value;
    }
  }
}

std::string ExpressionParser::parse_dotted_name() {
  std::string name = tokens_.expect_name();
  while (tokens_.skip_sign(".")) name += "." + tokens_.expect_name();
  return name;
}

ExprPtr ExpressionParser::parse_filter(ExprPtr value) {
  Node made = node(Type::kFilter);
  made->name = parse_dotted_name();
  made->filter = find_filter(made->name);
  made->children.push_back(std::move(value));
  if (tokens_.at_sign("(")) parse_arguments(made.get());
  return finish(std::move(made));
}

ExprPtr ExpressionParser::parse_filters_of_captured(bool begins_with_bar) {
  ExprPtr value = captured();
  if (!begins_with_bar) value = parse_filter(std::move(value));
  while (tokens_.skip_sign("|")) value = parse_filter(std::move(value));
  return value;
}

bool ExpressionParser::starts_test_argument() const {
  switch (tokens_.peek().type) {
    case TokenType::kName:
      return !tokens_.at_name("else") && !tokens_.at_name("or") && !tokens_.at_name("and");
    case TokenType::kString:
    case TokenType::kInteger:
    case TokenType::kReal:
      return true;
    default:
      return tokens_.at_sign("(") || tokens_.at_sign("[") || tokens_.at_sign("{");
  }
}

ExprPtr ExpressionParser::parse_test(ExprPtr value) {
  const bool negated = tokens_.skip_name("not");
  Node made = node(Type::kTest);
  made->name = parse_dotted_name();
  made->test = find_test(made->name);
  made->children.push_back(std::move(value));
  if (tokens_.at_sign("(")) {
    parse_arguments(made.get());
  } else if (starts_test_argument()) {
    if (tokens_.at_name("is")) fail("tests cannot stand in a row");
    made->children.push_back(parse_postfix(parse_primary()));
  }
  ExprPtr test = finish(std::move(made));
  return negated ? unary(Type::kNot, std::move(test)) : std::move(test);
}

// ---- targets

ExprPtr ExpressionParser::parse_target_item() {
  const TokenReader::Level level(&tokens_);
  if (tokens_.skip_sign("(")) {
    ExprPtr inner = parse_target();
    tokens_.expect_sign(")");
    return inner;
  }
  return parse_target_name();
}

ExprPtr ExpressionParser::parse_target_name() {
  ExprPtr target = parse_primary();
  if (target->type != Type::kName) fail("only a name can be assigned to");
  return target;
}

ExprPtr ExpressionParser::parse_target() {
  const int line = tokens_.line();
  ExprPtr first = parse_target_item();
  if (!tokens_.at_sign(",")) return first;
  Node made = node(Type::kTuple);
  made->line = line;
  made->children.push_back(std::move(first));
  while (tokens_.skip_sign(",")) {
    const bool ends = tokens_.at_sign(")") || tokens_.at_sign("=") || tokens_.at_name("in") ||
                      tokens_.at(TokenType::kCloseTag);
    if (ends) break;
    made->children.push_back(parse_target_item());
  }
  return finish(std::move(made));
}

ExprPtr ExpressionParser::parse_settable_target() {
  if (!tokens_.at(TokenType::kName) || !TokenReader::is_sign(tokens_.peek(1), "."))
    return parse_target();
  ExprPtr space = parse_name();
  tokens_.expect_sign(".");
  Node made = node(Type::kAttribute);
  made->name = tokens_.expect_name();
  made->children.push_back(std::move(space));
  return finish(std::move(made));
}

}  // namespace diffulex::jinja
