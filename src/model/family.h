// One row per model family. Adding a family is one file that defines its row, and one line in
// family.cpp.
#pragma once

#include <string_view>

#include "model/arch.h"
#include "model/config_reader.h"
#include "model/identity.h"
#include "model/tensor_table.h"

namespace diffulex {

struct Family {
  std::string_view name;
  bool (*matches)(const ModelIdentity& identity);

  // The rest is empty for families that are recognised but not supported.
  ArchSpec (*parse)(ConfigReader& config) = nullptr;  // all but token ids
  TensorTable (*tensors)(const ArchSpec& arch, ModelWeights* weights) = nullptr;
  int default_mask_token = -1;
  std::string_view turn_end = {};  // text of the token that ends a chat turn

  bool supported() const { return parse != nullptr; }
};

// The first family that matches; nullptr for an unknown kind of model.
const Family* find_family(const ModelIdentity& identity);

}  // namespace diffulex
