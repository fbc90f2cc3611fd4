// A mapping that keeps the order in which its keys came.
#pragma once

#include <cstddef>
#include <unordered_map>
#include <utility>
#include <vector>

#include "text/jinja/value.h"

namespace diffulex::jinja {

// Keys are strings, numbers, booleans and none; 1, 1.0 and true are one key, as in Python.
// Changed only while it is made; then safe to read from several threads.
class Dict {
 public:
  using Entry = std::pair<Value, Value>;

  // A known key keeps its place. Errors: a key of another kind, values nested too deeply.
  void set(Budget& budget, const Value& key, Value value);
  // Null: not there. Errors: as for set.
  const Value* find(Budget& budget, const Value& key) const;
  const Value* find(std::string_view key) const;

  const std::vector<Entry>& entries() const { return entries_; }
  size_t size() const { return entries_.size(); }
  int nesting() const { return nesting_; }

 private:
  // Strings by their text, numbers by their value.
  struct Key {
    Kind kind;  // kString, kFloat (all numbers) or kNone
    double number;
    std::string_view text;  // in an entry, or only while somebody looks for it
    bool operator==(const Key& other) const = default;
  };
  struct Hash {
    size_t operator()(const Key& key) const;
  };

  static Key key_of(const Value& value);

  std::vector<Entry> entries_;
  std::unordered_map<Key, size_t, Hash> places_;
  int nesting_ = 1;
};

}  // namespace diffulex::jinja
