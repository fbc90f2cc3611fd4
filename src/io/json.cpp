#include "io/json.h"

#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "base/error.h"
#include "io/mapped_file.h"
#include "io/path.h"

namespace diffulex {
namespace {

using nlohmann::json;

[[noreturn]] void fail(const std::string& path, const JsonRules& rules, const std::string& what) {
  throw Error(rules.status, file_name(path) + ": " + what).with("path", path);
}

// Builds a document from the parser's events, within the rules.
class Builder {
 public:
  Builder(json* root, const std::string& path, const JsonRules& rules)
      : root_(root), path_(path), rules_(rules) {}

  bool null() { return add(nullptr); }
  bool boolean(bool value) { return add(value); }
  bool number_integer(json::number_integer_t value) { return add(value); }
  bool number_unsigned(json::number_unsigned_t value) { return add(value); }
  bool number_float(json::number_float_t value, const json::string_t&) { return add(value); }
  bool string(json::string_t& value) { return add(std::move(value)); }
  bool binary(json::binary_t&) { return false; }  // not in a text
  bool start_object(size_t) { return open(json::value_t::object); }
  bool end_object() { return close(); }
  bool start_array(size_t) { return open(json::value_t::array); }
  bool end_array() { return close(); }

  bool key(json::string_t& name) {
    auto& members = open_.back()->get_ref<json::object_t&>();
    const auto [at, fresh] = members.try_emplace(name, nullptr);
    if (!fresh && rules_.unique_keys) fail(path_, rules_, "key '" + name + "' appears twice");
    member_ = &at->second;
    key_ = name;
    return true;
  }

  bool parse_error(size_t, const std::string&, const json::exception& problem) {
    const std::string place = key_.empty() ? "" : " (behind key '" + key_ + "')";
    fail(path_, rules_, "not valid JSON: " + std::string(problem.what()) + place);
  }

 private:
  template <class Value>
  bool add(Value&& value) {
    *slot() = json(std::forward<Value>(value));
    return true;
  }

  // Where the next value goes.
  json* slot() {
    if (open_.empty()) return root_;
    if (open_.back()->is_object()) return member_;
    auto& items = open_.back()->get_ref<json::array_t&>();
    items.emplace_back(nullptr);
    return &items.back();
  }

  bool open(json::value_t type) {
    if (open_.size() >= static_cast<size_t>(rules_.max_depth))
      fail(path_, rules_, "nested deeper than " + std::to_string(rules_.max_depth) + " levels");
    json* const at = slot();
    *at = json(type);
    open_.push_back(at);
    return true;
  }

  bool close() {
    open_.pop_back();
    return true;
  }

  json* root_;
  const std::string& path_;
  const JsonRules& rules_;
  std::vector<json*> open_;  // enclosing objects and arrays; a parent does not grow meanwhile
  json* member_ = nullptr;   // of the innermost object
  std::string key_;          // the last one, to say where a text breaks off
};

// From the leaves up: a container without elements is destroyed without taking memory. No deeper
// than the rules let documents be.
void dismantle(json& value) noexcept {
  if (value.is_object()) {
    auto& members = value.get_ref<json::object_t&>();
    for (auto& [name, member] : members) dismantle(member);
    members.clear();
  } else if (value.is_array()) {
    auto& items = value.get_ref<json::array_t&>();
    for (json& item : items) dismantle(item);
    items.clear();
  }
}

}  // namespace

JsonDocument::JsonDocument() : root_(std::make_unique<json>()) {}
JsonDocument::~JsonDocument() {
  if (root_ != nullptr) dismantle(*root_);
}
JsonDocument::JsonDocument(JsonDocument&& other) noexcept = default;
JsonDocument& JsonDocument::operator=(JsonDocument&& other) noexcept {
  root_.swap(other.root_);
  return *this;
}

JsonDocument parse_json(std::string_view text, const std::string& path, const JsonRules& rules) {
  JsonDocument document;
  Builder builder(document.root_.get(), path, rules);
  json::sax_parse(text.begin(), text.end(), &builder);
  return document;
}

JsonDocument parse_json_object(std::string_view text, const std::string& path,
                               const JsonRules& rules) {
  JsonDocument document = parse_json(text, path, rules);
  if (!document.root().is_object()) fail(path, rules, "not a JSON object");
  return document;
}

JsonDocument read_json_object(const std::string& path, const JsonRules& rules) {
  const MappedFile file(path);
  return parse_json_object(file.text(), path, rules);
}

}  // namespace diffulex
