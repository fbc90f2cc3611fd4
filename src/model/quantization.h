// Quantised weights, recognised so that they can be refused by name.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "base/error.h"

namespace diffulex {

// The format that a config.json says its weights are in, e.g. "GPTQ, 4 bits"; empty: in none.
std::string quantization_of(const nlohmann::json& config);

// The format that a tensor's name and dtype (as the file spells it) give away; empty: in none.
std::string_view quantization_of(std::string_view tensor, std::string_view dtype);

// What is wrong and what to do, for a message that has named the culprit.
std::string quantization_advice(std::string_view format);

}  // namespace diffulex
