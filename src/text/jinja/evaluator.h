// Walks a tree with the variables of one rendering.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "text/jinja/ast.h"
#include "text/jinja/lexer.h"
#include "text/jinja/run.h"
#include "text/jinja/scope.h"
#include "text/jinja/symbols.h"

namespace diffulex::jinja {

// Belongs to one thread and one rendering.
class Evaluator {
 public:
  // All must outlive the evaluator. A failure leaves its line in *position.
  Evaluator(Run* run, const Dict* variables, const Unset* unset, Position* position);

  // Appends what the block prints to *out. Throws Failure.
  void render(const Block& block, std::string* out);

 private:
  class Macro;
  class Within;  // another scope while it lives
  enum class Flow : uint8_t { kOn, kBreak, kContinue };

  // Statements.
  Flow execute(const Block& block);
  Flow execute(const Stmt& stmt);
  void print(std::string_view text);
  Flow execute_if(const Stmt& stmt);
  Flow execute_for(const Stmt& stmt);
  Values loop_items(const Stmt& stmt);
  Flow execute_with(const Stmt& stmt);
  void define_macro(const Stmt& stmt);
  std::shared_ptr<Scope> scope_for(const Block& block);
  Value capture(const Block& block);
  Value filter_captured(const Stmt& stmt);
  void assign(const Expr& target, const Value& value);
  void assign_attribute(const Expr& target, const Value& value);
  void set_parameters(const Macro& macro, const Arguments& arguments);
  Value call_macro(const Macro& macro, const Arguments& arguments);

  // Expressions.
  Value evaluate(const Expr& expr);
  Value evaluate_kind(const Expr& expr);
  Value look_up(const std::string& name);
  Values evaluate_all(const Expr& expr, size_t first);
  Value make_dict(const Expr& expr);
  Value choose(const Expr& expr);
  Value concatenate(const Expr& expr);
  bool compare_all(const Expr& expr);
  Value take_slice(const Expr& expr);
  Arguments evaluate_arguments(const Expr& expr);
  Value call(const Expr& expr);
  Value apply_filter(const Expr& expr);
  Value apply_test(const Expr& expr);

  Run& run_;
  const Dict& variables_;
  const Unset& unset_;
  Position& position_;
  std::shared_ptr<Scope> scope_;
  std::string* out_ = nullptr;
  Value captured_;  // what Expr::Type::kCaptured stands for
};

}  // namespace diffulex::jinja
