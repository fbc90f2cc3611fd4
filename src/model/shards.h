// The weight files of a checkpoint directory.
#pragma once

#include <string>
#include <vector>

#include "io/safetensors.h"

namespace diffulex {

// The files that model.safetensors.index.json lists, else model.safetensors, else every
// *.safetensors. With an index, each of its entries is checked against the file it names.
std::vector<SafetensorsFile> open_shards(const std::string& dir);

}  // namespace diffulex
