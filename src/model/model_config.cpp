#include "model/model_config.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "io/json.h"
#include "io/path.h"
#include "io/safetensors.h"
#include "model/directory.h"
#include "model/quantization.h"
#include "model/token_ids.h"
#include "model/tokenizer_files.h"

namespace diffulex {
namespace {

using nlohmann::json;

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

JsonDocument read_config(const std::string& dir, const std::string& path) {
  if (!entry_exists(path)) throw missing_config(dir);
  return read_json_object(path);
}

Error quantized(const std::string& path, const std::string& format) {
  return Error(DIFFULEX_E_MODEL_UNSUPPORTED,
               "config.json: key 'quantization_config': " + quantization_advice(format))
      .with("path", path)
      .with("key", "quantization_config");
}

}  // namespace

ModelConfig read_model_config(const std::string& dir, std::span<const Family> known,
                              ProblemList* problems) {
  ModelConfig model;
  const std::string path = join_path(dir, "config.json");
  JsonDocument document;
  if (!problems->attempt([&] { document = read_config(dir, path); })) return model;
  const json& root = document.root();
  const std::string quantization = quantization_of(root);
  model.quantized = !quantization.empty();
  if (model.quantized) problems->add(quantized(path, quantization));
  ModelIdentity identity = identify(root);
  const Family* family = nullptr;
  ConfigReader config(root, path);
  const bool sound = problems->attempt([&] {
    // What calls itself a Dream is one of two families, and config.json need not say which.
    identity.has_qk_norm = identity.model_type == "Dream" && has_qk_norm(dir);
    family = &supported_family(identity, known, path);
    model.arch = family->parse(config);
    config.check();
  });
  if (!sound) {  // shapes and ids are unknown, but what is malformed in the other files is not
    problems->attempt([&] { TokenizerFiles::read(dir); });
    return model;
  }
  model.family = family;
  model.arch.family = family->name;
  model.arch.decoding = family->decoding;
  if (!identity.architectures.empty()) model.arch.architecture = identity.architectures.front();
  problems->attempt([&] { derive_token_ids(dir, *family, config, &model.arch, &model.warnings); });
  return model;
}

ModelConfig read_model_config(const std::string& dir, std::span<const Family> known) {
  ProblemList problems;
  problems.attempt([&] { check_directory(dir); });
  ModelConfig model;
  if (problems.empty()) model = read_model_config(dir, known, &problems);
  problems.check(dir);
  return model;
}

}  // namespace diffulex
