#include "model/config_reader.h"

#include <algorithm>
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

// Letters to insert, remove, replace or swap until a becomes b.
size_t edits(std::string_view a, std::string_view b) {
  std::vector<size_t> before, last(b.size() + 1), row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) last[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, last[j - 1] + (a[i - 1] != b[j - 1])});
      const bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
      if (swapped) row[j] = std::min(row[j], before[j - 2] + 1);
    }
    before = last;
    last = row;
  }
  return last[b.size()];
}

constexpr size_t kMaxEdits = 2;
constexpr size_t kMaxKey = 64;  // longer keys are no misspellings of ours

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
    const std::string other = contains(key) ? "" : misspelling_of(key);
    malformed(key, other.empty() ? "is missing" : "is missing; is '" + other + "' meant for it?");
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
  add(DIFFULEX_E_MODEL_FORMAT, key, "' " + what);
}

void ConfigReader::unsupported(std::string_view key, const std::string& what) {
  add(DIFFULEX_E_MODEL_UNSUPPORTED, key, "': " + what);
}

void ConfigReader::add(diffulex_status status, std::string_view key, const std::string& what) {
  const std::string name(key);
  if (!bad_keys_.insert(name).second) return;  // what follows from a problem is none
  problems_.add(Error(status, file_name(path_) + ": key '" + name + what)
                    .with("path", path_)
                    .with("key", name));
}

std::string ConfigReader::misspelling_of(std::string_view key) const {
  for (const auto& [other, unused] : config_.items())
    if (other.size() <= kMaxKey && edits(other, key) <= kMaxEdits) return other;
  return {};
}

void ConfigReader::refuse_flag(std::string_view key, bool value, std::string_view what) {
  if (flag_or(key, !value) == value) unsupported(key, std::string(what));
}

void ConfigReader::refuse_values(std::string_view key, std::string_view what) {
  const json* found = value(key);
  if (found == nullptr || (found->is_structured() && found->empty())) return;
  unsupported(key, std::string(what));
}

}  // namespace diffulex
