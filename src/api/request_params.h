// Checks what a caller asks of a request and turns it into the engine's own types.
#pragma once

#include <span>

#include "diffulex.h"
#include "engine/engine_config.h"
#include "engine/request.h"

namespace diffulex::api {

// params: null for defaults. Throws Error.
RequestSpec make_spec(const EngineConfig& config, std::span<const diffulex_token> prompt,
                      const diffulex_request_params* params);

}  // namespace diffulex::api
