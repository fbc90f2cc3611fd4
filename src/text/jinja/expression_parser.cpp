#include "text/jinja/expression_parser.h"

#include <algorithm>
#include <array>
#include <optional>
#include <string>

#include "text/jinja/number.h"

namespace diffulex::jinja {

using Type = Expr::Type;

ExpressionParser::Node ExpressionParser::node(Type type) const {
  auto node = std::make_unique<Expr>();
  node->type = type;
  node->line = tokens_.line();
  return node;
}

ExprPtr ExpressionParser::finish(Node node) const {
  for (const ExprPtr& child : node->children)
    if (child != nullptr) node->depth = std::max(node->depth, child->depth + 1);
  for (const auto& [name, child] : node->named)
    node->depth = std::max(node->depth, child->depth + 1);
  if (node->depth > kMaxTreeDepth) fail("an expression is nested too deeply");
  return node;
}

ExprPtr ExpressionParser::constant(Value value) const {
  Node made = node(Type::kConstant);
  made->constant = std::move(value);
  return finish(std::move(made));
}

ExprPtr ExpressionParser::unary(Type type, ExprPtr operand) const {
  Node made = node(type);
  made->line = operand->line;
  made->children.push_back(std::move(operand));
  return finish(std::move(made));
}

ExprPtr ExpressionParser::pair(Type type, ExprPtr left, ExprPtr right) const {
  Node made = node(type);
  made->line = left->line;
  made->children.push_back(std::move(left));
  made->children.push_back(std::move(right));
  return finish(std::move(made));
}

ExprPtr ExpressionParser::binary(Operator op, ExprPtr left, ExprPtr right) const {
  Node made = node(Type::kBinary);
  made->line = left->line;
  made->operators.push_back(op);
  made->children.push_back(std::move(left));
  made->children.push_back(std::move(right));
  return finish(std::move(made));
}

ExprPtr ExpressionParser::parse() {
  const TokenReader::Level level(&tokens_);
  ExprPtr value = parse_or();
  while (tokens_.at_name("if")) {
    Node made = node(Type::kConditional);
    tokens_.next();
    made->children.push_back(parse_or());
    made->children.push_back(std::move(value));
    made->children.push_back(tokens_.skip_name("else") ? parse() : nullptr);
    value = finish(std::move(made));
  }
  return value;
}

ExprPtr ExpressionParser::parse_or() {
  ExprPtr left = parse_and();
  while (tokens_.skip_name("or")) left = pair(Type::kOr, std::move(left), parse_and());
  return left;
}

ExprPtr ExpressionParser::parse_and() {
  ExprPtr left = parse_not();
  while (tokens_.skip_name("and")) left = pair(Type::kAnd, std::move(left), parse_not());
  return left;
}

ExprPtr ExpressionParser::parse_not() {
  const TokenReader::Level level(&tokens_);
  if (tokens_.skip_name("not")) return unary(Type::kNot, parse_not());
  return parse_comparison();
}

bool ExpressionParser::take_comparison(Operator* op) {
  constexpr std::array<std::pair<std::string_view, Operator>, 6> kSigns = {
      {{"==", Operator::kEqual},
       {"!=", Operator::kUnequal},
       {"<", Operator::kLess},
       {"<=", Operator::kLessEqual},
       {">", Operator::kGreater},
       {">=", Operator::kGreaterEqual}}};
  for (const auto& [sign, meaning] : kSigns) {
    if (!tokens_.skip_sign(sign)) continue;
    *op = meaning;
    return true;
  }
  *op = tokens_.at_name("not") ? Operator::kNotIn : Operator::kIn;
  if (tokens_.skip_name("in")) return true;
  if (!tokens_.at_name("not") || !TokenReader::is_name(tokens_.peek(1), "in")) return false;
  tokens_.next();
  tokens_.next();
  return true;
}

ExprPtr ExpressionParser::parse_comparison() {
  ExprPtr left = parse_sum();
  Operator op{};
  if (!take_comparison(&op)) return left;
  Node made = node(Type::kCompare);
  made->line = left->line;
  made->children.push_back(std::move(left));
  do {
    made->operators.push_back(op);
    made->children.push_back(parse_sum());
  } while (take_comparison(&op));
  return finish(std::move(made));
}

ExprPtr ExpressionParser::parse_sum() {
  ExprPtr left = parse_concat();
  while (tokens_.at_sign("+") || tokens_.at_sign("-")) {
    const Operator op = tokens_.next().text == "+" ? Operator::kAdd : Operator::kSubtract;
    left = binary(op, std::move(left), parse_concat());
  }
  return left;
}

ExprPtr ExpressionParser::parse_concat() {
  ExprPtr first = parse_product();
  if (!tokens_.at_sign("~")) return first;
  Node made = node(Type::kConcat);
  made->children.push_back(std::move(first));
  while (tokens_.skip_sign("~")) made->children.push_back(parse_product());
  return finish(std::move(made));
}

bool ExpressionParser::take_product(Operator* op) {
  constexpr std::array<std::pair<std::string_view, Operator>, 4> kSigns = {
      {{"*", Operator::kMultiply},
       {"/", Operator::kDivide},
       {"//", Operator::kFloorDivide},
       {"%", Operator::kModulo}}};
  for (const auto& [sign, meaning] : kSigns) {
    if (!tokens_.skip_sign(sign)) continue;
    *op = meaning;
    return true;
  }
  return false;
}

ExprPtr ExpressionParser::parse_product() {
  ExprPtr left = parse_power();
  for (Operator op{}; take_product(&op);) left = binary(op, std::move(left), parse_power());
  return left;
}

// Binds to the left, unlike in Python.
ExprPtr ExpressionParser::parse_power() {
  ExprPtr left = parse_unary(true);
  while (tokens_.skip_sign("**"))
    left = binary(Operator::kPower, std::move(left), parse_unary(true));
  return left;
}

ExprPtr ExpressionParser::parse_unary(bool with_filters) {
  const TokenReader::Level level(&tokens_);
  ExprPtr value;
  if (tokens_.skip_sign("-")) {
    value = unary(Type::kNegate, parse_unary(false));
  } else if (tokens_.skip_sign("+")) {
    value = unary(Type::kPlus, parse_unary(false));
  } else {
    value = parse_primary();
  }
  value = parse_postfix(std::move(value));
  return with_filters ? parse_filters(std::move(value)) : std::move(value);
}

ExprPtr ExpressionParser::parse_primary() {
  switch (tokens_.peek().type) {
    case TokenType::kName:
      return parse_name();
    case TokenType::kString:
      return parse_string();
    case TokenType::kInteger:
    case TokenType::kReal:
      return parse_number();
    default:
      break;
  }
  if (tokens_.at_sign("(")) return parse_brackets();
  if (tokens_.at_sign("[")) return parse_list();
  if (tokens_.at_sign("{")) return parse_dict();
  tokens_.unexpected("a value");
}

ExprPtr ExpressionParser::parse_name() {
  Node made = node(Type::kName);
  made->name = tokens_.next().text;
  if (made->name == "true" || made->name == "True") return constant(Value::boolean(true));
  if (made->name == "false" || made->name == "False") return constant(Value::boolean(false));
  if (made->name == "none" || made->name == "None") return constant(Value());
  constexpr std::array<std::string_view, 3> kOfMacros = {"varargs", "kwargs", "caller"};
  if (macros > 0 && std::find(kOfMacros.begin(), kOfMacros.end(), made->name) != kOfMacros.end())
    refuse("'" + made->name + "' in a macro");
  if (made->name == "self" || made->name == "super") refuse("'" + made->name + "'");
  return finish(std::move(made));
}

ExprPtr ExpressionParser::parse_string() {
  std::string text;
  while (tokens_.at(TokenType::kString)) text += tokens_.next().text;
  return constant(Value::string(budget_, std::move(text)));
}

ExprPtr ExpressionParser::parse_number() {
  const Token& token = tokens_.next();
  if (token.type == TokenType::kReal) return constant(Value::real(*parse_real(token.text)));
  return constant(Value::integer(*parse_integer(token.text)));
}

ExprPtr ExpressionParser::parse_brackets() {
  tokens_.expect_sign("(");
  if (tokens_.at_sign(")")) {
    Node empty = node(Type::kTuple);
    tokens_.next();
    return finish(std::move(empty));
  }
  ExprPtr value = parse_tuple();
  tokens_.expect_sign(")");
  return value;
}

ExprPtr ExpressionParser::parse_list() {
  Node made = node(Type::kList);
  tokens_.expect_sign("[");
  while (!tokens_.at_sign("]")) {
    if (!made->children.empty()) tokens_.expect_sign(",");
    if (tokens_.at_sign("]")) break;
    made->children.push_back(parse());
  }
  tokens_.expect_sign("]");
  return finish(std::move(made));
}

ExprPtr ExpressionParser::parse_dict() {
  Node made = node(Type::kDict);
  tokens_.expect_sign("{");
  while (!tokens_.at_sign("}")) {
    if (!made->children.empty()) tokens_.expect_sign(",");
    if (tokens_.at_sign("}")) break;
    made->children.push_back(parse());
    tokens_.expect_sign(":");
    made->children.push_back(parse());
  }
  tokens_.expect_sign("}");
  return finish(std::move(made));
}

ExprPtr ExpressionParser::parse_tuple(Allowed allowed) {
  const int line = tokens_.line();
  ExprPtr first = allowed == Allowed::kAll ? parse() : parse_or();
  return parse_tuple_rest(std::move(first), line, allowed);
}

ExprPtr ExpressionParser::parse_tuple_rest(ExprPtr first, int line, Allowed allowed) {
  if (!tokens_.at_sign(",")) return first;
  Node made = node(Type::kTuple);
  made->line = line;
  made->children.push_back(std::move(first));
  while (tokens_.skip_sign(",")) {
    const bool ends = tokens_.at_sign(")") || tokens_.at_sign("]") ||
                      tokens_.at(TokenType::kCloseTag) || tokens_.at(TokenType::kClosePrint) ||
                      tokens_.at_name("recursive");
    if (ends) break;
    made->children.push_back(allowed == Allowed::kAll ? parse() : parse_or());
  }
  return finish(std::move(made));
}

}  // namespace diffulex::jinja
