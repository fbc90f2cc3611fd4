// What a checkpoint directory holds, by the names of its files.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace diffulex {

// Throws Error(DIFFULEX_E_IO) unless dir is a directory that can be read.
void check_directory(const std::string& dir);

// Paths of the files with this extension (".safetensors"), sorted; links that lead nowhere too.
// Throws Error(DIFFULEX_E_IO).
std::vector<std::string> files_with(const std::string& dir, std::string_view extension);

// The errors for what is not there, which say what is there instead and what to do.
Error missing_config(const std::string& dir);  // DIFFULEX_E_IO, path: config.json
Error missing_weights(
    const std::string& dir);  // MODEL_FORMAT, or MODEL_UNSUPPORTED: another format

}  // namespace diffulex
