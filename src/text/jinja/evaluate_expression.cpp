#include <utility>

#include "text/jinja/access.h"
#include "text/jinja/callable.h"
#include "text/jinja/dict.h"
#include "text/jinja/evaluator.h"
#include "text/jinja/globals.h"
#include "text/jinja/write.h"

namespace diffulex::jinja {

using Type = Expr::Type;

Value Evaluator::evaluate(const Expr& expr) {
  const Budget::Level level(&run_.budget);
  run_.budget.steps(1);
  const int outer = std::exchange(position_.line, expr.line);
  Value value = evaluate_kind(expr);
  position_.line = outer;  // a failure keeps the innermost
  return value;
}

Value Evaluator::evaluate_kind(const Expr& expr) {
  const auto child = [&](size_t index) { return evaluate(*expr.children[index]); };
  switch (expr.type) {
    case Type::kConstant:
      return expr.constant;
    case Type::kName:
      return look_up(expr.name);
    case Type::kList:
      return Value::list(run_.budget, evaluate_all(expr, 0));
    case Type::kTuple:
      return Value::tuple(run_.budget, evaluate_all(expr, 0));
    case Type::kDict:
      return make_dict(expr);
    case Type::kNot:
      return Value::boolean(!child(0).truthy());
    case Type::kNegate:
      return negate(child(0));
    case Type::kPlus:
      return plus(child(0));
    case Type::kAnd:
    case Type::kOr: {
      Value left = child(0);
      return left.truthy() == (expr.type == Type::kOr) ? left : child(1);
    }
    case Type::kConditional:
      return choose(expr);
    case Type::kBinary: {
      const Value left = child(0);
      return calculate(run_.budget, expr.operators[0], left, child(1));
    }
    case Type::kConcat:
      return concatenate(expr);
    case Type::kCompare:
      return Value::boolean(compare_all(expr));
    case Type::kAttribute:
      return attribute(run_, child(0), expr.name);
    case Type::kElement: {
      const Value value = child(0);
      return element(run_, value, child(1));
    }
    case Type::kSlice:
      return take_slice(expr);
    case Type::kCall:
      return call(expr);
    case Type::kFilter:
      return apply_filter(expr);
    case Type::kTest:
      return apply_test(expr);
    case Type::kCaptured:
      return captured_;
  }
  return {};
}

Value Evaluator::look_up(const std::string& name) {
  if (const Value* own = scope_->find(name); own != nullptr) return *own;
  if (const Value* given = variables_.find(name); given != nullptr) return *given;
  return find_global(name);
}

Values Evaluator::evaluate_all(const Expr& expr, size_t first) {
  Values values;
  values.reserve(expr.children.size() - first);
  for (size_t i = first; i < expr.children.size(); ++i)
    values.push_back(evaluate(*expr.children[i]));
  return values;
}

Value Evaluator::make_dict(const Expr& expr) {
  Dict dict;
  for (size_t i = 0; i < expr.children.size(); i += 2) {
    const Value key = evaluate(*expr.children[i]);
    dict.set(run_.budget, key, evaluate(*expr.children[i + 1]));
  }
  return Value::dict(std::move(dict));
}

Value Evaluator::choose(const Expr& expr) {
  if (evaluate(*expr.children[0]).truthy()) return evaluate(*expr.children[1]);
  if (expr.children[2] != nullptr) return evaluate(*expr.children[2]);
  return Value::undefined("the other value of a condition without 'else'");
}

Value Evaluator::concatenate(const Expr& expr) {
  std::string text;
  for (const ExprPtr& child : expr.children) write_string(run_.budget, evaluate(*child), text);
  return Value::string(run_.budget, std::move(text));
}

// a < b < c: each is evaluated once, and none behind the first that does not hold.
bool Evaluator::compare_all(const Expr& expr) {
  Value left = evaluate(*expr.children[0]);
  for (size_t i = 0; i < expr.operators.size(); ++i) {
    Value right = evaluate(*expr.children[i + 1]);
    if (!compare(run_.budget, expr.operators[i], left, right)) return false;
    left = std::move(right);
  }
  return true;
}

Value Evaluator::take_slice(const Expr& expr) {
  const auto given = [&](size_t index) {
    return expr.children[index] != nullptr ? evaluate(*expr.children[index]) : Value();
  };
  const Value value = given(0), start = given(1), stop = given(2);
  return slice(run_, value, start, stop, given(3));
}

Arguments Evaluator::evaluate_arguments(const Expr& expr) {
  Arguments arguments;
  arguments.positional = evaluate_all(expr, 1);
  for (const auto& [name, value] : expr.named) arguments.named.emplace_back(name, evaluate(*value));
  return arguments;
}

Value Evaluator::call(const Expr& expr) {
  const Value callee = evaluate(*expr.children[0]);
  if (callee.is(Kind::kUndefined)) fail(callee.what() + " is undefined");
  if (callee.is(Kind::kLoop)) refuse("calling 'loop'");
  if (!callee.is(Kind::kCallable))
    fail("a value of type " + std::string(callee.type_name()) + " cannot be called");
  return callee.callable().call(run_, evaluate_arguments(expr));
}

Value Evaluator::apply_filter(const Expr& expr) {
  if (expr.filter == nullptr) refuse("the filter '" + expr.name + "'");
  const Value input = evaluate(*expr.children[0]);
  return expr.filter(run_, input, evaluate_arguments(expr));
}

Value Evaluator::apply_test(const Expr& expr) {
  if (expr.test == nullptr) refuse("the test '" + expr.name + "'");
  const Value input = evaluate(*expr.children[0]);
  return Value::boolean(expr.test(run_, input, evaluate_arguments(expr)));
}

}  // namespace diffulex::jinja
