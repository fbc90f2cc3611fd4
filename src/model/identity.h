// The facts of a config.json by which families are told apart.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace diffulex {

struct ModelIdentity {
  std::vector<std::string> architectures;
  std::string model_type;
  std::vector<std::string> auto_map;  // its string values
  bool has_d_model = false;           // LLaDA's name of hidden_size
  bool has_qk_norm = false;           // of the tensors; known where families differ by it alone

  bool has_architecture(std::string_view name) const;
  bool architecture_contains(std::string_view part) const;
  std::string describe() const;  // for messages
};

// Takes what is there: a config.json without these keys has an empty identity.
ModelIdentity identify(const nlohmann::json& config);

}  // namespace diffulex
