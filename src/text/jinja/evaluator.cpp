#include "text/jinja/evaluator.h"

#include <utility>

#include "text/jinja/callable.h"
#include "text/jinja/iterate.h"
#include "text/jinja/loop.h"
#include "text/jinja/write.h"

namespace diffulex::jinja {

using Type = Stmt::Type;

class Evaluator::Macro : public Callable {
 public:
  Macro(Evaluator* evaluator, const Stmt* stmt, std::weak_ptr<Scope> place)
      : Callable(stmt->text), evaluator_(*evaluator), stmt_(*stmt), place_(std::move(place)) {}

  Value call(Run& run, const Arguments& arguments) const override {
    run.budget.steps(1);
    return evaluator_.call_macro(*this, arguments);
  }

  const Stmt& stmt() const { return stmt_; }

  // The scope it was defined in, which sees what is set there later on.
  std::shared_ptr<Scope> place() const {
    std::shared_ptr<Scope> place = place_.lock();
    if (place == nullptr) refuse("calling the macro '" + name() + "' outside of its block");
    return place;
  }

 private:
  Evaluator& evaluator_;
  const Stmt& stmt_;
  std::weak_ptr<Scope> place_;  // which holds the macro
};

class Evaluator::Within {
 public:
  Within(Evaluator* evaluator, std::shared_ptr<Scope> scope)
      : evaluator_(*evaluator), outer_(std::exchange(evaluator->scope_, std::move(scope))) {}
  ~Within() { evaluator_.scope_ = std::move(outer_); }
  Within(const Within&) = delete;
  Within& operator=(const Within&) = delete;

 private:
  Evaluator& evaluator_;
  std::shared_ptr<Scope> outer_;
};

Evaluator::Evaluator(Run* run, const Dict* variables, const Unset* unset, Position* position)
    : run_(*run), variables_(*variables), unset_(*unset), position_(*position) {}

void Evaluator::render(const Block& block, std::string* out) {
  out_ = out;
  scope_ = scope_for(block);
  execute(block);
}

// A scope inside of the present one, as it is when the block begins.
std::shared_ptr<Scope> Evaluator::scope_for(const Block& block) {
  auto scope = std::make_shared<Scope>(scope_);
  const auto unset = unset_.find(&block);
  if (unset == unset_.end()) return scope;
  for (const std::string_view name : unset->second)
    scope->set(name, Value::undefined("'" + std::string(name) + "'"));
  return scope;
}

Evaluator::Flow Evaluator::execute(const Block& block) {
  for (const auto& stmt : block) {
    const Flow flow = execute(*stmt);
    if (flow != Flow::kOn) return flow;
  }
  return Flow::kOn;
}

Evaluator::Flow Evaluator::execute(const Stmt& stmt) {
  const Budget::Level level(&run_.budget);
  run_.budget.steps(1);
  position_.line = stmt.line;
  switch (stmt.type) {
    case Type::kText:
      print(stmt.text);
      return Flow::kOn;
    case Type::kPrint:
      print(to_string(run_.budget, evaluate(*stmt.value)));
      return Flow::kOn;
    case Type::kIf:
      return execute_if(stmt);
    case Type::kFor:
      return execute_for(stmt);
    case Type::kSet:
      assign(*stmt.target, evaluate(*stmt.value));
      return Flow::kOn;
    case Type::kSetBlock:
      assign(*stmt.target, filter_captured(stmt));
      return Flow::kOn;
    case Type::kMacro:
      define_macro(stmt);
      return Flow::kOn;
    case Type::kFilter:
      print(to_string(run_.budget, filter_captured(stmt)));
      return Flow::kOn;
    case Type::kWith:
      return execute_with(stmt);
    case Type::kScope: {
      const Within inside(this, scope_for(stmt.body));
      return execute(stmt.body);
    }
    case Type::kBreak:
      return Flow::kBreak;
    case Type::kContinue:
      return Flow::kContinue;
  }
  return Flow::kOn;
}

void Evaluator::print(std::string_view text) {
  run_.budget.output(text.size());
  out_->append(text);
}

Evaluator::Flow Evaluator::execute_if(const Stmt& stmt) {
  for (const Branch& branch : stmt.branches)
    if (evaluate(*branch.condition).truthy()) return execute(branch.body);
  return execute(stmt.other);
}

Values Evaluator::loop_items(const Stmt& stmt) {
  Values all = elements(run_.budget, evaluate(*stmt.value));
  if (stmt.condition == nullptr) return all;
  Values kept;
  for (Value& item : all) {
    const Within inside(this, std::make_shared<Scope>(scope_));
    assign(*stmt.target, item);
    if (evaluate(*stmt.condition).truthy()) kept.push_back(std::move(item));
  }
  return kept;
}

Evaluator::Flow Evaluator::execute_for(const Stmt& stmt) {
  const auto loop = std::make_shared<Loop>();
  loop->items = Value::list(run_.budget, loop_items(stmt));
  const Values& items = loop->items.items();
  bool finished = false;  // some round came to its end: as in Jinja, 'else' asks for nothing else
  for (; loop->index < items.size(); ++loop->index) {
    run_.budget.steps(1);
    const Within inside(this, scope_for(stmt.body));
    assign(*stmt.target, items[loop->index]);
    scope_->set("loop", Value::loop(loop));
    const Flow flow = execute(stmt.body);
    if (flow == Flow::kBreak) break;
    finished = finished || flow == Flow::kOn;
  }
  if (finished) return Flow::kOn;
  const Within inside(this, scope_for(stmt.other));
  return execute(stmt.other);
}

Evaluator::Flow Evaluator::execute_with(const Stmt& stmt) {
  const auto scope = scope_for(stmt.body);
  for (const auto& [target, value] : stmt.assignments) scope->set(target->name, evaluate(*value));
  const Within inside(this, scope);
  return execute(stmt.body);
}

// What a block prints, as a string.
Value Evaluator::capture(const Block& block) {
  std::string text;
  std::string* const outer = std::exchange(out_, &text);
  execute(block);  // after a failure nobody prints any more
  out_ = outer;
  return Value::string(run_.budget, std::move(text));
}

// The filters see the variables of the block.
Value Evaluator::filter_captured(const Stmt& stmt) {
  const Within inside(this, scope_for(stmt.body));
  const Value outer = std::exchange(captured_, capture(stmt.body));
  Value filtered = evaluate(*stmt.value);
  captured_ = outer;
  return filtered;
}

void Evaluator::assign(const Expr& target, const Value& value) {
  if (target.type == Expr::Type::kAttribute) return assign_attribute(target, value);
  if (target.type == Expr::Type::kName) return scope_->set(target.name, value);
  const Values parts = elements(run_.budget, value);
  if (parts.size() != target.children.size())
    fail("cannot take " + std::to_string(parts.size()) + " values apart into " +
         std::to_string(target.children.size()) + " names");
  for (size_t i = 0; i < parts.size(); ++i) assign(*target.children[i], parts[i]);
}

void Evaluator::assign_attribute(const Expr& target, const Value& value) {
  const Value space = evaluate(*target.children[0]);
  if (!space.is(Kind::kNamespace))
    fail("only a namespace has attributes that can be set, not a value of type " +
         std::string(space.type_name()));
  space.name_space().attributes.insert_or_assign(target.name, value);
}

void Evaluator::define_macro(const Stmt& stmt) {
  scope_->set(stmt.text, Value::callable(std::make_shared<const Macro>(this, &stmt, scope_)));
}

// Defaults may use parameters in front of them.
void Evaluator::set_parameters(const Macro& macro, const Arguments& arguments) {
  const auto& parameters = macro.stmt().parameters;
  std::vector<std::string_view> names;
  names.reserve(parameters.size());
  for (const Parameter& parameter : parameters) names.emplace_back(parameter.name);
  const Bound bound(arguments, "the macro '" + macro.name() + "'", std::move(names));
  for (size_t i = 0; i < parameters.size(); ++i) {
    const auto& [name, absent] = parameters[i];
    if (bound.get(i) != nullptr) {
      scope_->set(name, *bound.get(i));
    } else if (absent != nullptr) {
      scope_->set(name, evaluate(*absent));
    } else {
      scope_->set(name, Value::undefined("the parameter '" + name + "'"));
    }
  }
}

Value Evaluator::call_macro(const Macro& macro, const Arguments& arguments) {
  const Budget::Level level(&run_.budget);
  const int line = position_.line;
  const Within around(this, macro.place());
  const Within inside(this, scope_for(macro.stmt().body));
  set_parameters(macro, arguments);
  Value text = capture(macro.stmt().body);
  position_.line = line;
  return text;
}

}  // namespace diffulex::jinja
