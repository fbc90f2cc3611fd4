#include "model/model_config.h"

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "io/json.h"
#include "io/path.h"
#include "model/token_ids.h"

namespace diffulex {
namespace {

const Family& supported_family(const ModelIdentity& identity, const std::string& path) {
  const Family* family = find_family(identity);
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

ModelConfig read_model_config(const std::string& dir) {
  const std::string path = join_path(dir, "config.json");
  const JsonDocument document = read_json_object(path);
  const ModelIdentity identity = identify(document.root());
  ModelConfig model;
  model.family = &supported_family(identity, path);
  ConfigReader config(document.root(), path);
  config.refuse_values("quantization_config", "quantized checkpoints");
  model.arch = model.family->parse(config);
  config.check();
  model.arch.family = model.family->name;
  if (!identity.architectures.empty()) model.arch.architecture = identity.architectures.front();
  derive_token_ids(dir, *model.family, config, &model.arch, &model.warnings);
  return model;
}

}  // namespace diffulex
