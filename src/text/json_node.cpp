#include "text/json_node.h"

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <system_error>
#include <utility>

#include "base/error.h"

namespace diffulex::text {

using nlohmann::json;

struct JsonNode::File {
  std::string path;
  json root;
};

bool file_exists(const std::string& path) {
  std::error_code error;
  return std::filesystem::exists(path, error);
}

std::string read_file(const std::string& path) {
  const auto fail = [&path]() -> Error {
    return Error(DIFFULEX_E_IO, "cannot read " + path).with("path", path);
  };
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error)) throw fail();
  std::ifstream in(path, std::ios::binary);
  if (!in) throw fail();
  std::string content;
  const auto size = std::filesystem::file_size(path, error);
  if (error) throw fail();
  content.resize(size);
  in.read(content.data(), static_cast<std::streamsize>(size));
  if (static_cast<uintmax_t>(in.gcount()) != size) throw fail();
  return content;
}

JsonNode JsonNode::load(const std::string& path) {
  auto file = std::make_shared<File>();
  file->path = path;
  const std::string content = read_file(path);
  try {
    file->root = json::parse(content);
  } catch (const json::parse_error& e) {
    throw Error(DIFFULEX_E_TOKENIZER, path + " is not valid JSON at byte " + std::to_string(e.byte))
        .with("path", path);
  } catch (const json::exception&) {  // a number out of range and the like
    throw Error(DIFFULEX_E_TOKENIZER, path + " is not valid JSON").with("path", path);
  }
  const json* root = &file->root;
  JsonNode node(std::move(file), root, "");
  if (!root->is_object()) node.fail("must be an object");
  return node;
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
  const std::string where = key_.empty() ? path() : path() + ": " + key_;
  throw Error(DIFFULEX_E_TOKENIZER, where + " " + problem).with("path", path());
}

}  // namespace diffulex::text
