#include "model/identity.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace diffulex {
namespace {

std::vector<std::string> strings_of(const nlohmann::json& config, const char* key) {
  std::vector<std::string> strings;
  const auto found = config.find(key);
  if (found == config.end() || !found->is_structured()) return strings;
  for (const auto& value : *found) {
    if (value.is_string()) strings.push_back(value.get<std::string>());
  }
  return strings;
}

}  // namespace

bool ModelIdentity::has_architecture(std::string_view name) const {
  return std::find(architectures.begin(), architectures.end(), name) != architectures.end();
}

bool ModelIdentity::architecture_contains(std::string_view part) const {
  return std::any_of(architectures.begin(), architectures.end(), [part](const std::string& name) {
    return name.find(part) != std::string::npos;
  });
}

std::string ModelIdentity::describe() const {
  std::string text = "architectures [";
  for (const std::string& name : architectures) {
    if (&name != &architectures.front()) text += ", ";
    text += "'" + name + "'";
  }
  return text + "], model_type '" + model_type + "'";
}

ModelIdentity identify(const nlohmann::json& config) {
  ModelIdentity identity;
  identity.architectures = strings_of(config, "architectures");
  identity.auto_map = strings_of(config, "auto_map");
  identity.has_d_model = config.contains("d_model");
  const auto type = config.find("model_type");
  if (type != config.end() && type->is_string()) identity.model_type = type->get<std::string>();
  return identity;
}

}  // namespace diffulex
