// Model directories that are none, and config.json as nobody should write it.
#include <filesystem>

#include "errors_checkpoint.h"

namespace diffulex_tests::errors {
namespace {

using nlohmann::json;

Outcomes content_fails(const std::vector<std::string>& contents) {
  Outcomes outcomes;
  for (const std::string& content : contents) {
    const TempDir dir;
    TinyCheckpoint().write(dir.path());
    write_file(dir / kConfig, content);
    outcomes = outcomes + both_fail(dir.path(), kConfig);
  }
  return outcomes;
}

// The sound config after a change for which `culprit` is to blame.
Outcomes changed_fails(const std::string& culprit, const std::function<void(json&)>& change) {
  const TempDir dir;
  TinyCheckpoint checkpoint;
  change(checkpoint.config);
  checkpoint.write(dir.path());
  return both_fail(dir.path(), culprit);
}

Outcomes value_fails(const std::string& key, const json& value) {
  return changed_fails(key, [&](json& config) { config[key] = value; });
}

const char* const kRequired[] = {"vocab_size",          "hidden_size",
                                 "num_attention_heads", "max_position_embeddings",
                                 "num_hidden_layers",   "intermediate_size"};

Outcomes missing_keys() {
  Outcomes outcomes;
  for (const std::string key : kRequired)
    outcomes = outcomes + changed_fails(key, [&](json& config) { config.erase(key); });
  return outcomes;
}

Outcomes mistyped_keys() {
  Outcomes outcomes;
  for (const char* key : kRequired)
    for (const json& value : {json("64"), json(64.0), json(true), json::array({64})})
      outcomes = outcomes + value_fails(key, value);
  return outcomes + value_fails("tie_word_embeddings", "false") + value_fails("rope_theta", "1") +
         value_fails("rms_norm_eps", true) + value_fails("eos_token_id", "62") +
         value_fails("mask_token_id", "63") + value_fails("torch_dtype", 32) +
         value_fails("layer_types", "full_attention");
}

Outcomes absurd_sizes() {
  Outcomes outcomes;
  for (const char* key :
       {"vocab_size", "hidden_size", "num_attention_heads", "max_position_embeddings",
        "num_hidden_layers", "intermediate_size", "num_key_value_heads", "head_dim", "block_size"})
    for (const json& value : {json(0), json(-64), json(INT32_MAX), json(UINT64_MAX), json(1e300)})
      outcomes = outcomes + value_fails(key, value);
  return outcomes + value_fails("block_size", 257) + value_fails("hidden_size", (1 << 22) + 1) +
         value_fails("rope_theta", 0) + value_fails("rope_theta", 1e300) +
         value_fails("rms_norm_eps", -1e-6);
}

Outcomes odd_heads() {
  return value_fails("num_key_value_heads", 3) + value_fails("head_dim", 31) +
         changed_fails("head_dim", [](json& config) {
           config["head_dim"] = nullptr;  // derived
           config["num_attention_heads"] = 3;
         });
}

Outcomes bad_mask() {
  return value_fails("mask_token_id", 64) + value_fails("mask_token_id", -1) +
         changed_fails("mask_token_id", [](json& config) { config.erase("mask_token_id"); });
}

Outcomes bad_generation_config() {
  Outcomes outcomes;
  for (const char* content : {"", "{", R"({"eos_token_id": "62"})"}) {
    const TempDir dir;
    TinyCheckpoint().write(dir.path());
    write_file(dir / "generation_config.json", content);
    outcomes = outcomes + both_fail(dir.path(), "generation_config.json");
  }
  return outcomes;
}

Outcomes unknown_architecture() {
  const auto named = [](const json& architectures, const json& type) {
    return changed_fails(kConfig, [&](json& config) {
      config["architectures"] = architectures;
      config["model_type"] = type;
    });
  };
  return named({"LlamaForCausalLM"}, "llama") + named(json::array(), "") +
         named("SDARForCausalLM", nullptr) + named({1, 2}, 3) +
         named({"LLaDA2MoeModelLM"}, "llada");  // known, not supported yet
}

Outcomes unsupported_kinds() {
  return value_fails("hidden_act", "gelu") + value_fails("torch_dtype", "int8") +
         value_fails("use_sliding_window", true) +
         value_fails("rope_scaling", {{"rope_type", "yarn"}, {"factor", 4}}) +
         value_fails("layer_types", {"sliding_attention"});
}

// Of tensors that fit it.
Outcomes head_fails(int64_t dim) {
  const TempDir dir;
  TinyCheckpoint checkpoint;
  checkpoint.config["head_dim"] = dim;
  const std::string attention = "model.layers.0.self_attn.";
  for (const char* part : {"q_proj", "k_proj", "v_proj", "o_proj", "q_norm", "k_norm"}) {
    const std::string name = attention + part + ".weight";
    std::vector<int64_t> shape = {2 * dim, 64};
    if (std::string(part) == "o_proj") shape = {64, 2 * dim};
    if (std::string(part).ends_with("norm")) shape = {dim};
    checkpoint.tensor(name) = TinyCheckpoint::zeros(name, shape);
  }
  checkpoint.write(dir.path());
  return both_fail(dir.path(), "head_dim");
}

Outcomes quantized() {
  constexpr const char* kKey = "quantization_config";
  Outcomes outcomes = value_fails(kKey, {{"bits", 4}}) + value_fails(kKey, true);
  for (const char* method : {"gptq", "awq", "fp8", "compressed-tensors", "bitsandbytes", "hqq",
                             "modelopt", "torchao", "tomorrow"})
    outcomes = outcomes + value_fails(kKey, {{"quant_method", method}});
  return outcomes;
}

Outcomes lone_adapter() {
  const TempDir dir;
  write_file(dir / "adapter_config.json", "{}");
  write_file(dir / "adapter_model.safetensors", "x");
  return {plan_fails(dir.path(), kConfig)};
}

Outcomes missing_directory() {
  const TempDir dir;
  return both_fail(dir / "nothing", "nothing");
}

Outcomes file_as_directory() {
  const TempDir dir;
  write_file(dir / "file", "text");
  return both_fail(dir / "file", "file");
}

Outcomes empty_directory() {
  const TempDir dir;
  return both_fail(dir.path(), kConfig);
}

Outcomes directory_as_config() {
  const TempDir dir;
  TinyCheckpoint().write(dir.path());
  std::filesystem::remove(dir / kConfig);
  std::filesystem::create_directory(dir / kConfig);
  return both_fail(dir.path(), kConfig);
}

Outcomes no_json() {
  return content_fails({"{", "vocab_size: 64", std::string(4, '\0'), "[1, 2]", "null", "\"text\"",
                        "{\"a\": \"\xFF\"}", std::string(100'000, '['), "{\"vocab_size\": 1e999}"});
}

}  // namespace

void add_model_config_cases(Cases* cases) {
  Cases& c = *cases;
  c["model-dir-missing"] = missing_directory;
  c["model-dir-is-file"] = file_as_directory;
  c["model-dir-empty"] = empty_directory;
  c["config-is-directory"] = directory_as_config;
  c["config-empty"] = [] { return content_fails({""}); };
  c["config-no-json"] = no_json;
  c["config-key-twice"] = [] { return content_fails({R"({"vocab_size": 64, "vocab_size": 65})"}); };
  c["config-key-missing"] = missing_keys;
  c["config-key-mistyped"] = mistyped_keys;
  c["config-size"] = absurd_sizes;
  c["config-heads"] = odd_heads;
  c["head-size"] = [] { return head_fails(8) + head_fails(1 << 12); };
  c["config-mask"] = bad_mask;
  c["generation-config"] = bad_generation_config;
  c["architecture-unknown"] = unknown_architecture;
  c["config-unsupported"] = unsupported_kinds;
  c["config-quantized"] = quantized;
  c["adapter"] = lone_adapter;
}

}  // namespace diffulex_tests::errors
