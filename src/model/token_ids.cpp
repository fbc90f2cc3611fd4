#include "model/token_ids.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "io/json.h"
#include "io/path.h"
#include "model/tokenizer_files.h"

namespace diffulex {
namespace {

class IdDeriver {
 public:
  IdDeriver(const std::string& dir, const Family& family, ConfigReader& config, ArchSpec* arch,
            std::vector<std::string>* warnings)
      : files_(TokenizerFiles::read(dir)),
        dir_(dir),
        family_(family),
        config_(config),
        arch_(*arch),
        warnings_(*warnings) {}

  void derive() {
    const int known = files_.token_count();
    arch_.token_count = known == 0 ? arch_.vocab_size : std::min(known, arch_.vocab_size);
    derive_mask();
    warn_if_unknown("the mask", arch_.mask_token);
    derive_eos();
    arch_.bos_token = optional_id("bos_token_id", "bos_token");
    arch_.pad_token = optional_id("pad_token_id", "pad_token");
    config_.check();
  }

 private:
  bool in_vocabulary(int64_t id) const { return id >= 0 && id < arch_.vocab_size; }

  void derive_mask() {
    if (config_.has("mask_token_id")) {
      const int64_t id = config_.token("mask_token_id").value_or(-1);
      if (!in_vocabulary(id)) config_.malformed("mask_token_id", "must be inside the vocabulary");
      arch_.mask_token = static_cast<int>(id);
      return;
    }
    for (const std::string& text :
         {files_.special_in_map("mask_token"), files_.special_in_config("mask_token")}) {
      const int id = files_.id_of(text).value_or(-1);
      if (!in_vocabulary(id)) continue;
      arch_.mask_token = id;
      return;
    }
    use_default_mask();
  }

  void use_default_mask() {
    const int id = arch_.mask_token >= 0 ? arch_.mask_token : family_.default_mask_token;
    if (!in_vocabulary(id)) {
      config_.malformed("mask_token_id", "is missing and no tokenizer file names a mask token");
      return;
    }
    arch_.mask_token = id;
    warnings_.push_back("no file names a mask token; assuming id " + std::to_string(id) +
                        ", as usual for family '" + std::string(family_.name) + "'");
  }

  // A model may stop on any of these: chat models end turns with another token than documents.
  void derive_eos() {
    if (const auto id = files_.id_of(files_.special_in_config("eos_token"))) {
      add_eos(*id, "tokenizer_config.json");
    }
    if (const auto id = files_.id_of(files_.special_in_map("eos_token"))) {
      add_eos(*id, "special_tokens_map.json");
    }
    for (const int64_t id : config_.token_list("eos_token_id")) add_eos(id, "config.json");
    add_generation_eos();
    if (const auto id = files_.id_of(family_.turn_end)) add_eos(*id, "the tokenizer");
  }

  void add_generation_eos() {
    const std::string path = join_path(dir_, "generation_config.json");
    if (!file_exists(path)) return;
    const JsonDocument document = read_json_object(path);
    ConfigReader generation(document.root(), path);
    const std::vector<int64_t> ids = generation.token_list("eos_token_id");
    generation.check();
    for (const int64_t id : ids) add_eos(id, "generation_config.json");
  }

  void add_eos(int64_t id, const char* source) {
    const auto value = static_cast<int32_t>(in_vocabulary(id) ? id : -1);
    auto& ids = arch_.eos_tokens;
    if (value < 0) {
      warnings_.push_back(std::string(source) + ": ignoring the eos id " + std::to_string(id) +
                          ", which is outside the vocabulary");
    } else if (std::find(ids.begin(), ids.end(), value) == ids.end()) {
      ids.push_back(value);
      warn_if_unknown(std::string(source) + ": the eos", value);
    }
  }

  // The tokenizer's files may be older than the model: then they lack the tokens that were added.
  void warn_if_unknown(const std::string& what, int id) {
    if (id < arch_.token_count) return;
    warnings_.push_back(what + " id " + std::to_string(id) +
                        " is unknown to the tokenizer and can not be sampled");
  }

  // Some files say -1 for "none". The config's id goes before the tokenizer's token.
  int optional_id(const char* key, const char* token) {
    const int64_t id = config_.token(key).value_or(-1);
    if (in_vocabulary(id)) return static_cast<int>(id);
    if (id >= 0) {
      warnings_.push_back(std::string("config.json: ignoring ") + key + " " + std::to_string(id) +
                          ", which is outside the vocabulary");
    }
    for (const std::string& text :
         {files_.special_in_config(token), files_.special_in_map(token)}) {
      const int found = files_.id_of(text).value_or(-1);
      if (in_vocabulary(found)) return found;
    }
    return -1;
  }

  TokenizerFiles files_;
  const std::string& dir_;
  const Family& family_;
  ConfigReader& config_;
  ArchSpec& arch_;
  std::vector<std::string>& warnings_;
};

}  // namespace

void derive_token_ids(const std::string& dir, const Family& family, ConfigReader& config,
                      ArchSpec* arch, std::vector<std::string>* warnings) {
  IdDeriver(dir, family, config, arch, warnings).derive();
}

}  // namespace diffulex
