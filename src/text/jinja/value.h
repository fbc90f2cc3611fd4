// A value of the template language: what Python would hold there.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "text/jinja/budget.h"

namespace diffulex::jinja {

class Callable;
class Dict;
class Value;
struct Iterator;
struct Loop;
struct Namespace;

enum class Kind : uint8_t {
  kUndefined,
  kNone,
  kBool,
  kInt,
  kFloat,
  kString,
  kList,
  kTuple,
  kRange,
  kKeys,  // what a dict's keys(), values() and items() give
  kValues,
  kItems,
  kDict,
  kIterator,  // what can be walked once
  kNamespace,
  kCallable,
  kLoop
};

using Values = std::vector<Value>;

struct String {
  std::string text;  // valid UTF-8
  bool markup;       // escaped already, or declared safe: what is added to it gets escaped
};

struct Sequence {
  Values items;
  int nesting;
};

// Copies share what they hold. Nothing in here changes after it was made, but for namespaces and
// the places of iterators, so there are no cycles of owners: namespaces belong to the rendering.
class Value {
 public:
  Value() = default;                              // none
  static Value undefined(std::string_view what);  // what: for messages, "WHAT is undefined"
  static Value boolean(bool value) { return {Kind::kBool, value}; }
  static Value integer(int64_t value) { return {Kind::kInt, value}; }
  static Value real(double value) { return {Kind::kFloat, value}; }
  static Value string(Budget& budget, std::string text, bool markup = false);
  static Value sequence(Budget& budget, Kind kind, Values items);  // kList to kItems
  static Value list(Budget& budget, Values items);
  static Value tuple(Budget& budget, Values items);
  static Value pair(Budget& budget, Value first, Value second);
  static Value iterator(Budget& budget, Values items);
  static Value dict(Dict entries);
  static Value name_space(Namespace* space) { return {Kind::kNamespace, space}; }
  static Value callable(std::shared_ptr<const Callable> callable);
  static Value loop(std::shared_ptr<const Loop> loop);

  Kind kind() const { return kind_; }
  bool is(Kind kind) const { return kind_ == kind; }
  bool is_number() const { return kind_ >= Kind::kBool && kind_ <= Kind::kFloat; }
  bool is_integral() const { return is(Kind::kBool) || is(Kind::kInt); }
  // Holds its elements in a row: lists, tuples, ranges and views.
  bool is_sequence() const { return kind_ >= Kind::kList && kind_ <= Kind::kItems; }
  bool is_indexable() const { return kind_ >= Kind::kList && kind_ <= Kind::kRange; }

  // Each is for values of its kind only.
  const std::string& what() const;
  bool as_bool() const { return std::get<bool>(data_); }
  int64_t as_int() const;  // a bool counts as 0 or 1
  double as_real() const;  // of any number
  const std::string& text() const { return std::get<StringRef>(data_)->text; }
  bool markup() const { return is(Kind::kString) && std::get<StringRef>(data_)->markup; }
  const Values& items() const { return std::get<SequenceRef>(data_)->items; }
  const Dict& dict() const { return *std::get<DictRef>(data_); }
  Iterator& iterator() const { return *std::get<IteratorRef>(data_); }
  Namespace& name_space() const { return *std::get<Namespace*>(data_); }
  const Callable& callable() const { return *std::get<CallableRef>(data_); }
  const Loop& loop() const { return *std::get<LoopRef>(data_); }

  bool truthy() const;
  int nesting() const;                 // 0: holds no other value
  std::string_view type_name() const;  // as in Python, for messages

 private:
  struct Nothing {};
  using StringRef = std::shared_ptr<const String>;
  using SequenceRef = std::shared_ptr<const Sequence>;
  using DictRef = std::shared_ptr<const Dict>;
  using IteratorRef = std::shared_ptr<Iterator>;
  using CallableRef = std::shared_ptr<const Callable>;
  using LoopRef = std::shared_ptr<const Loop>;

  template <class T>
  Value(Kind kind, T data) : kind_(kind), data_(std::move(data)) {}

  Kind kind_ = Kind::kNone;
  std::variant<Nothing, bool, int64_t, double, StringRef, SequenceRef, DictRef, IteratorRef,
               Namespace*, CallableRef, LoopRef>
      data_;
};

// What a generator or iterator has left.
struct Iterator {
  Values items;
  size_t next;  // what is in front of it was taken
  int nesting;
};

// One more than the deepest of the values; too deep is an error.
int nesting_above(const Values& items);
int checked_nesting(int nesting);

}  // namespace diffulex::jinja
