// One row per model family. Adding a family is one page that defines its row, and one line in
// family.cpp: see docs/add_a_model.md.
#pragma once

#include <span>
#include <string_view>

#include "model/arch.h"
#include "model/config_reader.h"
#include "model/identity.h"
#include "model/tensor_table.h"

namespace diffulex {

struct Family {
  std::string_view name;  // of static storage, ends with NUL
  bool (*matches)(const ModelIdentity& identity);

  // The rest is empty for families that are recognised but not supported.
  ArchSpec (*parse)(ConfigReader& config) = nullptr;  // all but token ids and decoding
  TensorTable (*tensors)(const ArchSpec& arch, ModelWeights* weights) = nullptr;
  int default_mask_token = -1;     // where no file names one and parse() gave none
  std::string_view turn_end = {};  // text of the token that ends a chat turn
  Decoding decoding = {};

  bool supported() const { return parse != nullptr; }
};

// All families, in order of detection.
std::span<const Family> families();

// The first family that matches; nullptr for an unknown kind of model.
const Family* find_family(const ModelIdentity& identity,
                          std::span<const Family> known = families());

}  // namespace diffulex
