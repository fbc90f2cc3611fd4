#include "text/jinja/arguments.h"

#include <algorithm>
#include <utility>

namespace diffulex::jinja {

Bound::Bound(const Arguments& arguments, std::string_view who,
             std::vector<std::string_view> parameters)
    : who_(who), parameters_(std::move(parameters)), given_(parameters_.size(), nullptr) {
  if (arguments.positional.size() > parameters_.size())
    fail(who_ + " takes at most " + std::to_string(parameters_.size()) + " arguments");
  for (size_t i = 0; i < arguments.positional.size(); ++i) given_[i] = &arguments.positional[i];
  for (const auto& [name, value] : arguments.named) {
    const auto at = std::find(parameters_.begin(), parameters_.end(), name);
    if (at == parameters_.end()) fail(who_ + " has no argument '" + name + "'");
    const Value*& place = given_[static_cast<size_t>(at - parameters_.begin())];
    if (place != nullptr) fail(who_ + " got the argument '" + name + "' twice");
    place = &value;
  }
}

const Value& Bound::need(size_t index) const {
  if (given_[index] == nullptr)
    fail(who_ + " lacks the argument '" + std::string(parameters_[index]) + "'");
  return *given_[index];
}

bool Bound::flag(size_t index, bool absent) const {
  return given_[index] != nullptr ? given_[index]->truthy() : absent;
}

std::optional<int64_t> Bound::integer(size_t index) const {
  const Value* value = given_[index];
  if (value == nullptr || value->is(Kind::kNone)) return std::nullopt;
  if (!value->is_integral()) wrong(index, "an integer");
  return value->as_int();
}

const std::string* Bound::text(size_t index) const {
  const Value* value = given_[index];
  if (value == nullptr || value->is(Kind::kNone)) return nullptr;
  if (!value->is(Kind::kString)) wrong(index, "a string");
  return &value->text();
}

void Bound::wrong(size_t index, std::string_view wanted) const {
  fail(who_ + ": the argument '" + std::string(parameters_[index]) + "' must be " +
       std::string(wanted) + ", not " + std::string(given_[index]->type_name()));
}

}  // namespace diffulex::jinja
