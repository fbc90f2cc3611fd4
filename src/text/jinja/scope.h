// The variables of a block and of those around it.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/jinja/value.h"

namespace diffulex::jinja {

// Belongs to one thread. Shared so that a macro can tell whether its place still exists.
class Scope {
 public:
  explicit Scope(std::shared_ptr<const Scope> parent) : parent_(std::move(parent)) {}

  void set(std::string_view name, Value value) {
    for (auto& [known, place] : variables_) {
      if (known != name) continue;
      place = std::move(value);
      return;
    }
    variables_.emplace_back(name, std::move(value));
  }

  // Here or further out; null: nowhere.
  const Value* find(std::string_view name) const {
    for (const Scope* scope = this; scope != nullptr; scope = scope->parent_.get())
      for (const auto& [known, value] : scope->variables_)
        if (known == name) return &value;
    return nullptr;
  }

 private:
  std::shared_ptr<const Scope> parent_;
  std::vector<std::pair<std::string_view, Value>> variables_;  // names live in the tree
};

}  // namespace diffulex::jinja
