#include "text/json_node.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "base/error.h"
#include "io/json.h"
#include "io/path.h"

namespace diffulex::text {

using nlohmann::json;

struct JsonNode::File {
  std::string path;
  JsonDocument document;
};

JsonNode JsonNode::load(const std::string& path) {
  JsonRules rules;
  rules.status = DIFFULEX_E_TOKENIZER;
  auto file = std::make_shared<File>();
  file->path = path;
  file->document = read_json_object(path, rules);
  const json* root = &file->document.root();
  return JsonNode(std::move(file), root, "");
}

JsonNode::JsonNode(std::shared_ptr<const File> file, const json* value, std::string key)
    : file_(std::move(file)), value_(value), key_(std::move(key)) {}

const std::string& JsonNode::path() const { return file_->path; }
bool JsonNode::is_null() const { return value_->is_null(); }
bool JsonNode::is_string() const { return value_->is_string(); }
bool JsonNode::is_array() const { return value_->is_array(); }
bool JsonNode::is_object() const { return value_->is_object(); }

bool JsonNode::states(const std::string& name) const {
  return value_->is_object() && value_->contains(name);
}

bool JsonNode::has(const std::string& name) const {
  return states(name) && !value_->at(name).is_null();
}

JsonNode JsonNode::at(const std::string& name) const {
  if (!value_->is_object()) fail("must be an object");
  const auto found = value_->find(name);
  std::string key = key_.empty() ? name : key_ + "." + name;
  if (found == value_->end()) JsonNode(file_, value_, std::move(key)).fail("is missing");
  return JsonNode(file_, &*found, std::move(key));
}

JsonNode JsonNode::item(size_t index) const {
  return JsonNode(file_, &value_->at(index), key_ + "[" + std::to_string(index) + "]");
}

size_t JsonNode::size() const {
  if (!value_->is_array()) fail("must be an array");
  return value_->size();
}

const std::string& JsonNode::text() const {
  if (!value_->is_string()) fail("must be a string");
  return value_->get_ref<const std::string&>();
}

bool JsonNode::flag() const {
  if (!value_->is_boolean()) fail("must be true or false");
  return value_->get<bool>();
}

int32_t JsonNode::token_id() const {
  const bool positive =
      value_->is_number_unsigned() || (value_->is_number_integer() && value_->get<int64_t>() >= 0);
  if (!positive || value_->get<uint64_t>() > static_cast<uint64_t>(kMaxTokenId)) {
    fail("must be a token id, an integer from 0 to " + std::to_string(kMaxTokenId));
  }
  return value_->get<int32_t>();
}

bool JsonNode::flag_or(const std::string& name, bool absent) const {
  return has(name) ? at(name).flag() : absent;
}

std::string JsonNode::text_or(const std::string& name, std::string_view absent) const {
  return has(name) ? at(name).text() : std::string(absent);
}

void JsonNode::fail(const std::string& problem) const {
  const std::string key = key_.empty() ? "" : " " + key_;
  throw Error(DIFFULEX_E_TOKENIZER, file_name(path()) + ":" + key + " " + problem)
      .with("path", path());
}

}  // namespace diffulex::text
