#include "io/json.h"

#include <nlohmann/json.hpp>
#include <unordered_set>
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

// Watches the parser's events for what a finished document no longer shows.
class Watcher {
 public:
  Watcher(const std::string& path, const JsonRules& rules) : path_(path), rules_(rules) {}

  // depth counts the enclosing objects and arrays.
  bool operator()(int depth, json::parse_event_t event, const json& value) {
    const auto level = static_cast<size_t>(depth);
    if (event == json::parse_event_t::object_start || event == json::parse_event_t::array_start) {
      open(level);
    } else if (event == json::parse_event_t::key && rules_.unique_keys) {
      note_key(level, value.get_ref<const std::string&>());
    }
    return true;
  }

 private:
  void open(size_t level) {
    if (level >= static_cast<size_t>(rules_.max_depth)) {
      fail(path_, rules_, "nested deeper than " + std::to_string(rules_.max_depth) + " levels");
    }
    if (keys_.size() < level + 2) keys_.resize(level + 2);
    keys_[level + 1].clear();
  }

  void note_key(size_t level, const std::string& key) {
    if (!keys_[level].insert(key).second) {
      fail(path_, rules_, "key '" + key + "' appears twice");
    }
  }

  const std::string& path_;
  const JsonRules& rules_;
  std::vector<std::unordered_set<std::string>> keys_;  // seen so far, one set per open level
};

}  // namespace

json parse_json(std::string_view text, const std::string& path, const JsonRules& rules) {
  Watcher watcher(path, rules);
  const json::parser_callback_t callback = [&watcher](int depth, json::parse_event_t event,
                                                      const json& value) {
    return watcher(depth, event, value);
  };
  try {
    return json::parse(text.begin(), text.end(), callback);
  } catch (const json::exception& problem) {
    fail(path, rules, std::string("not valid JSON: ") + problem.what());
  }
}

json parse_json_object(std::string_view text, const std::string& path, const JsonRules& rules) {
  json document = parse_json(text, path, rules);
  if (!document.is_object()) fail(path, rules, "not a JSON object");
  return document;
}

json read_json_object(const std::string& path, const JsonRules& rules) {
  const MappedFile file(path);
  return parse_json_object(file.text(), path, rules);
}

}  // namespace diffulex
