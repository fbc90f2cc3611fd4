#include "text/jinja/value.h"

#include <algorithm>

#include "text/jinja/callable.h"
#include "text/jinja/dict.h"
#include "text/jinja/loop.h"

namespace diffulex::jinja {

Value Value::undefined(std::string_view what) {
  return {Kind::kUndefined, std::make_shared<const String>(String{std::string(what), false})};
}

Value Value::string(Budget& budget, std::string text, bool markup) {
  budget.bytes(text.size() + sizeof(String));
  return {Kind::kString, std::make_shared<const String>(String{std::move(text), markup})};
}

Value Value::sequence(Budget& budget, Kind kind, Values items) {
  budget.steps(items.size() + 1);
  budget.bytes(items.size() * sizeof(Value) + sizeof(Sequence));
  const int nesting = nesting_above(items);
  return {kind, std::make_shared<const Sequence>(Sequence{std::move(items), nesting})};
}

Value Value::list(Budget& budget, Values items) {
  return sequence(budget, Kind::kList, std::move(items));
}

Value Value::tuple(Budget& budget, Values items) {
  return sequence(budget, Kind::kTuple, std::move(items));
}

Value Value::pair(Budget& budget, Value first, Value second) {
  Values both;
  both.reserve(2);
  both.push_back(std::move(first));
  both.push_back(std::move(second));
  return tuple(budget, std::move(both));
}

Value Value::iterator(Budget& budget, Values items) {
  budget.steps(items.size() + 1);
  budget.bytes(items.size() * sizeof(Value) + sizeof(Iterator));
  const int nesting = nesting_above(items);
  return {Kind::kIterator, std::make_shared<Iterator>(Iterator{std::move(items), 0, nesting})};
}

Value Value::dict(Dict entries) {
  return {Kind::kDict, std::make_shared<const Dict>(std::move(entries))};
}

Value Value::callable(std::shared_ptr<const Callable> callable) {
  return {Kind::kCallable, std::move(callable)};
}

Value Value::loop(std::shared_ptr<const Loop> loop) { return {Kind::kLoop, std::move(loop)}; }

const std::string& Value::what() const { return std::get<StringRef>(data_)->text; }

int64_t Value::as_int() const {
  return is(Kind::kBool) ? int64_t{as_bool()} : std::get<int64_t>(data_);
}

double Value::as_real() const {
  return is(Kind::kFloat) ? std::get<double>(data_) : static_cast<double>(as_int());
}

bool Value::truthy() const {
  switch (kind_) {
    case Kind::kUndefined:
    case Kind::kNone:
      return false;
    case Kind::kBool:
    case Kind::kInt:
      return as_int() != 0;
    case Kind::kFloat:
      return as_real() != 0;
    case Kind::kString:
      return !text().empty();
    case Kind::kDict:
      return dict().size() > 0;
    default:
      return !is_sequence() || !items().empty();
  }
}

int Value::nesting() const {
  if (is_sequence()) return std::get<SequenceRef>(data_)->nesting;
  if (is(Kind::kDict)) return dict().nesting();
  if (is(Kind::kIterator)) return iterator().nesting;
  if (is(Kind::kCallable)) return callable().nesting();
  if (is(Kind::kLoop)) return loop().items.nesting() + 1;
  return 0;
}

std::string_view Value::type_name() const {
  switch (kind_) {
    case Kind::kUndefined:
      return "undefined";
    case Kind::kNone:
      return "none";
    case Kind::kBool:
      return "bool";
    case Kind::kInt:
      return "int";
    case Kind::kFloat:
      return "float";
    case Kind::kString:
      return "string";
    case Kind::kList:
      return "list";
    case Kind::kTuple:
      return "tuple";
    case Kind::kRange:
      return "range";
    case Kind::kKeys:
      return "dict_keys";
    case Kind::kValues:
      return "dict_values";
    case Kind::kItems:
      return "dict_items";
    case Kind::kDict:
      return "dict";
    case Kind::kIterator:
      return "iterator";
    case Kind::kNamespace:
      return "namespace";
    case Kind::kCallable:
      return "function";
    case Kind::kLoop:
      return "loop";
  }
  return "value";
}

int checked_nesting(int nesting) {
  if (nesting > kMaxNesting) fail("values are nested too deeply");
  return nesting;
}

int nesting_above(const Values& items) {
  int deepest = 0;
  for (const Value& item : items) deepest = std::max(deepest, item.nesting());
  return checked_nesting(deepest + 1);
}

}  // namespace diffulex::jinja
