// What the library, a checkpoint and a configuration say about themselves, as JSON.
#pragma once

#include <nlohmann/json.hpp>

#include "session.h"

namespace diffulex_command {

using Facts = nlohmann::ordered_json;

Facts build_facts();
Facts device_facts();
Facts engine_option_facts();
Facts strategy_facts();  // with their options
Facts checkpoint_facts(const std::string& model_dir);
Facts plan_facts(const EngineOptions& options);
Facts engine_facts(const EngineOptions& options);  // loads the model

}  // namespace diffulex_command
