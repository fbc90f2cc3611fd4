// Expressions, by falling binding: one function a level.
#pragma once

#include <string_view>
#include <utility>
#include <vector>

#include "text/jinja/parser.h"

namespace diffulex::jinja {

class ExpressionParser {
 public:
  // Both must outlive the parser.
  ExpressionParser(TokenReader* tokens, Budget* budget) : tokens_(*tokens), budget_(*budget) {}

  // Where a tuple may stand without brackets.
  enum class Allowed : uint8_t {
    kAll,
    kNoConditional  // an 'if' belongs to the statement
  };
  ExprPtr parse_tuple(Allowed allowed = Allowed::kAll);
  ExprPtr parse();

  ExprPtr parse_target();           // of a for: names
  ExprPtr parse_target_name();      // of a with: one name
  ExprPtr parse_settable_target();  // of a set: or an attribute of a namespace

  // One filter behind the other, the first one without a '|', applied to the captured text.
  ExprPtr parse_filters_of_captured(bool begins_with_bar);
  ExprPtr captured() { return finish(node(Expr::Type::kCaptured)); }

  // A macro's body must not use the variables that take what is not among its parameters.
  int macros = 0;  // around this place

 private:
  using Node = std::unique_ptr<Expr>;
  Node node(Expr::Type type) const;
  // Measures a tree that is complete.
  ExprPtr finish(Node node) const;
  ExprPtr constant(Value value) const;
  ExprPtr unary(Expr::Type type, ExprPtr operand) const;
  ExprPtr pair(Expr::Type type, ExprPtr left, ExprPtr right) const;
  ExprPtr binary(Operator op, ExprPtr left, ExprPtr right) const;

  ExprPtr parse_or();
  ExprPtr parse_and();
  ExprPtr parse_not();
  ExprPtr parse_comparison();
  bool take_comparison(Operator* op);
  ExprPtr parse_sum();
  ExprPtr parse_concat();
  ExprPtr parse_product();
  bool take_product(Operator* op);
  ExprPtr parse_power();
  ExprPtr parse_unary(bool with_filters);
  ExprPtr parse_primary();
  ExprPtr parse_name();
  ExprPtr parse_string();
  ExprPtr parse_number();
  ExprPtr parse_brackets();
  ExprPtr parse_list();
  ExprPtr parse_dict();
  ExprPtr parse_tuple_rest(ExprPtr first, int line, Allowed allowed);
  ExprPtr parse_target_item();
  ExprPtr parse_postfix(ExprPtr value);
  ExprPtr parse_attribute(ExprPtr value);
  ExprPtr parse_subscript(ExprPtr value);
  ExprPtr parse_slice(ExprPtr value, ExprPtr start);
  ExprPtr parse_call(ExprPtr callee);
  void parse_arguments(Expr* into);
  ExprPtr parse_filters(ExprPtr value);
  ExprPtr parse_filter(ExprPtr value);
  ExprPtr parse_test(ExprPtr value);
  bool starts_test_argument() const;
  std::string parse_dotted_name();

  TokenReader& tokens_;
  Budget& budget_;
};

}  // namespace diffulex::jinja
