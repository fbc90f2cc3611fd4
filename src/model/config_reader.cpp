#include "model/config_reader.h"

#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/error.h"
#include "io/path.h"

namespace diffulex {
namespace {

using nlohmann::json;

bool is_size(const json& value, int limit) {
  return value.is_number_unsigned() && value.get<uint64_t>() >= 1 &&
         value.get<uint64_t>() <= static_cast<uint64_t>(limit);
}

std::string joined(const std::vector<std::string>& parts) {
  std::string text;
  for (const std::string& part : parts) text.append(text.empty() ? "" : "; ").append(part);
  return text;
}

}  // namespace

ConfigReader::ConfigReader(const json& config, std::string path)
    : config_(config), path_(std::move(path)) {}

const json* ConfigReader::find(std::string_view key) const {
  const json* object = &config_;
  for (size_t dot = key.find('.'); dot != std::string_view::npos; dot = key.find('.')) {
    const auto nested = object->find(std::string(key.substr(0, dot)));
    if (nested == object->end() || !nested->is_object()) return nullptr;
    object = &*nested;
    key.remove_prefix(dot + 1);
  }
  const auto found = object->find(std::string(key));
  return found == object->end() ? nullptr : &*found;
}

const json* ConfigReader::value(std::string_view key) const {
  const json* found = find(key);
  return found == nullptr || found->is_null() ? nullptr : found;
}

bool ConfigReader::contains(std::string_view key) const { return find(key) != nullptr; }

bool ConfigReader::has(std::string_view key) const { return value(key) != nullptr; }

int ConfigReader::size(std::string_view key, int limit) {
  if (!has(key)) {
    malformed(key, "is missing");
    return 1;
  }
  return size_or(key, 1, limit);
}

int ConfigReader::size_or(std::string_view key, int fallback, int limit) {
  const json* found = value(key);
  if (found == nullptr) return fallback;
  if (is_size(*found, limit)) return found->get<int>();
  malformed(key, "must be a positive integer of at most " + std::to_string(limit));
  return 1;
}

double ConfigReader::positive_or(std::string_view key, double fallback) {
  const json* found = value(key);
  if (found == nullptr) return fallback;
  const double number = found->is_number() ? found->get<double>() : 0;
  // The bound: these numbers become floats.
  if (number > 0 && number < 1e30) return number;
  malformed(key, "must be a positive number");
  return 1;
}

bool ConfigReader::flag_or(std::string_view key, bool fallback) {
  const json* found = value(key);
  if (found == nullptr) return fallback;
  if (found->is_boolean()) return found->get<bool>();
  malformed(key, "must be true or false");
  return fallback;
}

std::string ConfigReader::text_or(std::string_view key, std::string_view fallback) {
  const json* found = value(key);
  if (found == nullptr) return std::string(fallback);
  if (found->is_string()) return found->get<std::string>();
  malformed(key, "must be a string");
  return std::string(fallback);
}

DType ConfigReader::dtype_or(DType fallback) {
  const std::string_view key = has("torch_dtype") ? "torch_dtype" : "dtype";
  if (!has(key)) return fallback;
  std::string name = text_or(key, "bfloat16");
  if (name.starts_with("torch.")) name.erase(0, 6);
  if (name == "bfloat16") return DType::kBF16;
  if (name == "float16") return DType::kF16;
  if (name == "float32") return DType::kF32;
  unsupported(key, "'" + name + "' is none of bfloat16, float16, float32");
  return fallback;
}

std::optional<int64_t> ConfigReader::token(std::string_view key) {
  const json* found = value(key);
  if (found == nullptr) return std::nullopt;
  if (found->is_number_integer()) return found->get<int64_t>();
  malformed(key, "must be a token id");
  return std::nullopt;
}

std::vector<int64_t> ConfigReader::token_list(std::string_view key) {
  const json* found = value(key);
  if (found == nullptr) return {};
  if (found->is_number_integer()) return {found->get<int64_t>()};
  std::vector<int64_t> ids;
  bool sound = found->is_array();
  if (sound) {
    for (const json& id : *found) {
      sound = sound && id.is_number_integer();
      if (sound) ids.push_back(id.get<int64_t>());
    }
  }
  if (!sound) malformed(key, "must be a token id or a list of token ids");
  return ids;
}

std::vector<std::string> ConfigReader::text_list(std::string_view key) {
  const json* found = value(key);
  if (found == nullptr) return {};
  std::vector<std::string> texts;
  bool sound = found->is_array();
  if (sound) {
    for (const json& text : *found) {
      sound = sound && text.is_string();
      if (sound) texts.push_back(text.get<std::string>());
    }
  }
  if (!sound) malformed(key, "must be a list of strings");
  return texts;
}

void ConfigReader::malformed(std::string_view key, const std::string& what) {
  if (malformed_.empty()) first_malformed_ = key;
  malformed_.push_back("key '" + std::string(key) + "' " + what);
}

void ConfigReader::unsupported(std::string_view key, const std::string& what) {
  if (unsupported_.empty()) first_unsupported_ = key;
  unsupported_.push_back("key '" + std::string(key) + "': " + what);
}

void ConfigReader::refuse_flag(std::string_view key, bool value, std::string_view what) {
  if (flag_or(key, !value) == value) unsupported(key, std::string(what));
}

void ConfigReader::refuse_values(std::string_view key, std::string_view what) {
  const json* found = value(key);
  if (found == nullptr || (found->is_structured() && found->empty())) return;
  unsupported(key, std::string(what));
}

void ConfigReader::check() const {
  const std::string file = file_name(path_) + ": ";
  if (!malformed_.empty()) {
    throw Error(DIFFULEX_E_MODEL_FORMAT, file + joined(malformed_))
        .with("path", path_)
        .with("key", first_malformed_);
  }
  if (!unsupported_.empty()) {
    throw Error(DIFFULEX_E_MODEL_UNSUPPORTED, file + joined(unsupported_))
        .with("path", path_)
        .with("key", first_unsupported_);
  }
}

}  // namespace diffulex
