#include "model/model_config.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "io/json.h"
#include "io/path.h"
#include "io/safetensors.h"
#include "model/token_ids.h"

namespace diffulex {
namespace {

bool is_qk_norm(std::string_view tensor) { return tensor.ends_with(".self_attn.q_norm.weight"); }

// By the index, or by the header of the only file; false where there is neither.
bool has_qk_norm(const std::string& dir) {
  const std::string index = join_path(dir, "model.safetensors.index.json");
  if (file_exists(index)) {
    const JsonDocument document = read_json_object(index);
    const auto map = document.root().find("weight_map");
    if (map == document.root().end() || !map->is_object()) return false;
    for (const auto& [tensor, file] : map->items()) {
      if (is_qk_norm(tensor)) return true;
    }
    return false;
  }
  const std::string single = join_path(dir, "model.safetensors");
  if (!file_exists(single)) return false;
  const SafetensorsFile file(single);
  return std::any_of(file.entries().begin(), file.entries().end(),
                     [](const TensorEntry& entry) { return is_qk_norm(entry.name); });
}

const Family& supported_family(const ModelIdentity& identity, std::span<const Family> known,
                               const std::string& path) {
  const Family* family = find_family(identity, known);
  if (family == nullptr) {
    throw Error(DIFFULEX_E_MODEL_UNSUPPORTED,
                "config.json: no known model family: " + identity.describe())
        .with("path", path);
  }
  if (!family->supported()) {
    throw Error(DIFFULEX_E_MODEL_UNSUPPORTED, "config.json: family '" + std::string(family->name) +
                                                  "' is not supported yet (" + identity.describe() +
                                                  ")")
        .with("path", path);
  }
  return *family;
}

}  // namespace

ModelConfig read_model_config(const std::string& dir, std::span<const Family> known) {
  const std::string path = join_path(dir, "config.json");
  const JsonDocument document = read_json_object(path);
  ModelIdentity identity = identify(document.root());
  // What calls itself a Dream is one of two families, and config.json need not say which.
  identity.has_qk_norm = identity.model_type == "Dream" && has_qk_norm(dir);
  ModelConfig model;
  model.family = &supported_family(identity, known, path);
  ConfigReader config(document.root(), path);
  config.refuse_values("quantization_config", "quantized checkpoints");
  model.arch = model.family->parse(config);
  config.check();
  model.arch.family = model.family->name;
  model.arch.decoding = model.family->decoding;
  if (!identity.architectures.empty()) model.arch.architecture = identity.architectures.front();
  derive_token_ids(dir, *model.family, config, &model.arch, &model.warnings);
  return model;
}

}  // namespace diffulex
