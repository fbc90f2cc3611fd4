#include "text/jinja/symbols.h"

#include <array>
#include <map>
#include <set>

namespace diffulex::jinja {
namespace {

using Type = Stmt::Type;

// The variables of one block, as they become known in the order of the text.
class Symbols {
 public:
  explicit Symbols(const Symbols* parent) : parent_(parent) {}

  void load(std::string_view name) {
    if (!knows(name)) define(name, false);
  }

  void store(std::string_view name) {
    stored_.insert(name);
    if (!own_.contains(name)) define(name, parent_ == nullptr || !parent_->knows(name));
  }

  void parameter(std::string_view name) {
    stored_.insert(name);
    define(name, false);
  }

  // Takes over what the branches of an if, each begun as a copy of this, have found. What a branch
  // sets has its outer value until then: another branch may run.
  void merge(const std::vector<Symbols>& branches) {
    std::set<std::string_view> fresh;
    for (const Symbols& branch : branches)
      for (const std::string_view name : branch.stored_)
        if (!stored_.contains(name)) fresh.insert(name);
    for (const Symbols& branch : branches) {
      for (const auto& [name, unset] : branch.own_) own_[name] = unset;
      stored_.insert(branch.stored_.begin(), branch.stored_.end());
    }
    for (const std::string_view name : fresh) own_[name] = false;
  }

  Names unset() const {
    Names names;
    for (const auto& [name, is_unset] : own_)
      if (is_unset) names.push_back(name);
    return names;
  }

 private:
  bool knows(std::string_view name) const {
    return own_.contains(name) || (parent_ != nullptr && parent_->knows(name));
  }

  void define(std::string_view name, bool unset) { own_[name] = unset; }

  const Symbols* parent_;
  std::map<std::string_view, bool> own_;  // and whether it begins as undefined
  std::set<std::string_view> stored_;
};

void read(const Expr& expr, Symbols* symbols) {
  if (expr.type == Expr::Type::kName) symbols->load(expr.name);
  for (const ExprPtr& child : expr.children)
    if (child != nullptr) read(*child, symbols);
  for (const auto& [name, value] : expr.named) read(*value, symbols);
}

// An attribute of a namespace reads the namespace.
void write(const Expr& target, Symbols* symbols) {
  if (target.type == Expr::Type::kAttribute) return read(target, symbols);
  if (target.type == Expr::Type::kName) symbols->store(target.name);
  for (const ExprPtr& child : target.children) write(*child, symbols);
}

void declare(const Expr& target, Symbols* symbols) {
  if (target.type == Expr::Type::kName) symbols->parameter(target.name);
  for (const ExprPtr& child : target.children) declare(*child, symbols);
}

void note(const Block& block, Symbols* symbols);

void note_if(const Stmt& stmt, Symbols* symbols) {
  // Three branches: the first, all others with a condition, the rest.
  read(*stmt.branches[0].condition, symbols);
  std::vector<Symbols> branches(3, *symbols);
  note(stmt.branches[0].body, &branches[0]);
  // One 'elif' after the other, each with two empty branches beside it.
  for (size_t i = 1; i < stmt.branches.size(); ++i) {
    read(*stmt.branches[i].condition, &branches[1]);
    std::vector<Symbols> inner(3, branches[1]);
    note(stmt.branches[i].body, &inner[0]);
    branches[1].merge(inner);
  }
  note(stmt.other, &branches[2]);
  symbols->merge(branches);
}

// What a statement means for the variables of the block it stands in.
void note(const Stmt& stmt, Symbols* symbols) {
  switch (stmt.type) {
    case Type::kPrint:
    case Type::kFor:
    case Type::kFilter:
      return read(*stmt.value, symbols);
    case Type::kIf:
      return note_if(stmt, symbols);
    case Type::kSet:
      read(*stmt.value, symbols);
      return write(*stmt.target, symbols);
    case Type::kSetBlock:
      return write(*stmt.target, symbols);
    case Type::kMacro:
      return symbols->store(stmt.text);
    case Type::kWith:
      for (const auto& [target, value] : stmt.assignments) read(*value, symbols);
      return;
    default:
      return;
  }
}

void note(const Block& block, Symbols* symbols) {
  for (const auto& stmt : block) note(*stmt, symbols);
}

class Finder {
 public:
  Unset take() { return std::move(unset_); }

  // Ends a block whose parameters are known, and goes on to those inside of it.
  void finish(const Block& block, Symbols* symbols) {
    note(block, symbols);
    Names names = symbols->unset();
    if (!names.empty()) unset_.emplace(&block, std::move(names));
    descend(block, *symbols);
  }

 private:
  void descend(const Block& block, const Symbols& around) {
    for (const auto& stmt : block) descend(*stmt, around);
  }

  void descend(const Stmt& stmt, const Symbols& around) {
    for (const Branch& branch : stmt.branches) descend(branch.body, around);
    if (stmt.type == Type::kIf) return descend(stmt.other, around);
    Symbols inner(&around);
    if (stmt.type == Type::kFor) {
      inner.parameter("loop");
      declare(*stmt.target, &inner);
      Symbols other(&around);
      finish(stmt.other, &other);
    }
    for (const Parameter& parameter : stmt.parameters) inner.parameter(parameter.name);
    for (const Parameter& parameter : stmt.parameters)
      if (parameter.absent != nullptr) read(*parameter.absent, &inner);
    for (const auto& [target, value] : stmt.assignments) declare(*target, &inner);
    finish(stmt.body, &inner);
  }

  Unset unset_;
};

}  // namespace

Unset find_unset(const Block& root) {
  Finder finder;
  Symbols symbols(nullptr);
  finder.finish(root, &symbols);
  return finder.take();
}

}  // namespace diffulex::jinja
