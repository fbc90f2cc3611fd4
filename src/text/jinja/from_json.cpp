#include "text/jinja/from_json.h"

#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "text/jinja/dict.h"

namespace diffulex::jinja {
namespace {

using nlohmann::json;

constexpr size_t kMaxDepth = 64;

[[noreturn]] void broken(const std::string& what) {
  throw Failure(DIFFULEX_E_INVALID_ARGUMENT, what);
}

// Builds a value from the parser's events.
class Builder {
 public:
  explicit Builder(Budget& budget) : budget_(budget) {}

  bool null() { return add(Value()); }
  bool boolean(bool value) { return add(Value::boolean(value)); }
  bool number_integer(json::number_integer_t value) { return add(Value::integer(value)); }
  bool number_unsigned(json::number_unsigned_t value) {
    if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) too_large();
    return add(Value::integer(static_cast<int64_t>(value)));
  }
  bool number_float(json::number_float_t value, const std::string& text) {
    if (text.find_first_of(".eE") == std::string::npos) too_large();
    return add(Value::real(value));
  }
  bool string(std::string& value) { return add(Value::string(budget_, std::move(value))); }
  bool binary(json::binary_t&) { return false; }  // not in a text
  bool start_object(size_t) { return open(true); }
  bool start_array(size_t) { return open(false); }

  bool key(std::string& name) {
    Level& level = levels_.back();
    level.key = Value::string(budget_, std::move(name));
    if (level.dict.find(budget_, level.key) != nullptr)
      broken("key '" + level.key.text() + "' appears twice");
    return true;
  }

  bool end_object() {
    Value value = Value::dict(std::move(levels_.back().dict));
    levels_.pop_back();
    return add(std::move(value));
  }

  bool end_array() {
    Value value = Value::list(budget_, std::move(levels_.back().items));
    levels_.pop_back();
    return add(std::move(value));
  }

  bool parse_error(size_t, const std::string&, const json::exception& problem) {
    broken(std::string("not valid JSON: ") + problem.what());
  }

  Value take() { return std::move(root_); }

 private:
  // An object or array that is not closed yet.
  struct Level {
    bool is_object;
    Dict dict;
    Values items;
    Value key;  // of the next member
  };

  [[noreturn]] static void too_large() { broken("an integer has more than 64 bits"); }

  bool open(bool is_object) {
    if (levels_.size() >= kMaxDepth)
      broken("nested deeper than " + std::to_string(kMaxDepth) + " levels");
    levels_.push_back({is_object, {}, {}, {}});
    return true;
  }

  bool add(Value value) {
    if (levels_.empty()) {
      root_ = std::move(value);
    } else if (levels_.back().is_object) {
      levels_.back().dict.set(budget_, levels_.back().key, std::move(value));
    } else {
      levels_.back().items.push_back(std::move(value));
    }
    return true;
  }

  Budget& budget_;
  std::vector<Level> levels_;
  Value root_;
};

}  // namespace

Value from_json(Budget& budget, std::string_view text) {
  Builder builder(budget);
  json::sax_parse(text.begin(), text.end(), &builder);
  return builder.take();
}

}  // namespace diffulex::jinja
