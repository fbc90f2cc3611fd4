// config.json and the tokenizer's files -> ArchSpec.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <nlohmann/json.hpp>

#include "model/checkpoint.h"
#include "model/family.h"
#include "unit/expect_error.h"
#include "unit/safetensors_writer.h"

namespace diffulex {
namespace {

using nlohmann::json;
using testing::expect_error;
using testing::TempDir;
using testing::TinySdar;
using testing::write_file;

// A directory with a tiny model's small files and no weights, whose config.json tests may change.
class ModelConfig : public ::testing::Test {
 protected:
  ModelConfig() { TinySdar().write_config(dir_.path()); }

  ArchSpec read() const {
    write_file(dir_ / "config.json", config_.dump());
    return read_arch(dir_.path());
  }

  void expect_refused(diffulex_status status, std::initializer_list<std::string> parts) const {
    const Error error = expect_error(status, parts, [this] { read(); });
    EXPECT_EQ(testing::detail(error, "path"), dir_ / "config.json");
  }

  void remove(const std::string& name) const { std::filesystem::remove(dir_ / name); }
  void write(const std::string& name, const json& document) const {
    write_file(dir_ / name, document.dump());
  }

  // Of {"text": id, ...} the form that tokenizer_config.json wants.
  static json decoder(const std::vector<std::pair<const char*, int>>& tokens) {
    json decoder = json::object();
    for (const auto& [text, id] : tokens) decoder[std::to_string(id)] = {{"content", text}};
    return decoder;
  }

  TempDir dir_;
  json config_ = TinySdar().config();
};

TEST_F(ModelConfig, ReadsSdar) {
  const ArchSpec arch = read();
  EXPECT_EQ(arch.family, "sdar");
  EXPECT_EQ(arch.architecture, "SDARForCausalLM");
  EXPECT_EQ(arch.vocab_size, 512);
  EXPECT_EQ(arch.token_count, 500);
  EXPECT_EQ(arch.hidden_size, 96);
  EXPECT_EQ(arch.heads, 4);
  ASSERT_EQ(arch.layers.size(), 3u);
  for (const LayerSpec& layer : arch.layers) {
    EXPECT_EQ(layer.kv_heads, 1);
    EXPECT_EQ(layer.head_dim, 32);
    EXPECT_EQ(layer.mlp_size, 128);
    EXPECT_EQ(layer.sliding_window, 0);
    EXPECT_EQ(layer.rope_theta, 1e6F);
  }
  EXPECT_EQ(arch.norm_eps, 1e-6F);
  EXPECT_FLOAT_EQ(arch.attention_scale, 1 / std::sqrt(32.0F));
  EXPECT_FALSE(arch.tied_embeddings);
  EXPECT_FALSE(arch.qkv_bias);
  EXPECT_FALSE(arch.output_bias);
  EXPECT_TRUE(arch.qk_norm);
  EXPECT_EQ(arch.max_positions, 512);
  EXPECT_EQ(arch.checkpoint_dtype, DType::kBF16);
  EXPECT_EQ(arch.block_size, 4);
  EXPECT_EQ(arch.mask_token, 499);
  EXPECT_EQ(arch.eos_tokens, (std::vector<int32_t>{497, 496}));
  EXPECT_EQ(arch.bos_token, 496);
  EXPECT_EQ(arch.pad_token, -1);
  EXPECT_EQ(arch.decoding.accept_threshold, 0.95F);
}

TEST_F(ModelConfig, FillsInWhatIsLeftOut) {
  for (const char* key :
       {"num_key_value_heads", "head_dim", "block_size", "attention_bias", "tie_word_embeddings",
        "hidden_act", "rms_norm_eps", "rope_theta", "rope_scaling", "use_sliding_window",
        "bos_token_id", "eos_token_id", "torch_dtype"}) {
    config_.erase(key);
  }
  const ArchSpec arch = read();
  EXPECT_EQ(arch.layers[0].kv_heads, 4);
  EXPECT_EQ(arch.layers[0].head_dim, 128);
  EXPECT_EQ(arch.layers[0].rope_theta, 10000.0F);
  EXPECT_EQ(arch.block_size, 4);
  EXPECT_EQ(arch.norm_eps, 1e-6F);
  EXPECT_EQ(arch.checkpoint_dtype, DType::kBF16);
  EXPECT_EQ(arch.eos_tokens, (std::vector<int32_t>{497}));
  EXPECT_EQ(arch.bos_token, -1);
}

TEST_F(ModelConfig, TakesNullAsTheFilesMeanIt) {
  config_["num_key_value_heads"] = nullptr;
  config_["head_dim"] = nullptr;
  config_["mask_token_id"] = nullptr;
  config_["eos_token_id"] = nullptr;
  const ArchSpec arch = read();
  EXPECT_EQ(arch.layers[0].kv_heads, 4);
  EXPECT_EQ(arch.layers[0].head_dim, 24);
  EXPECT_EQ(arch.mask_token, 499);
  config_["hidden_size"] = 98;
  expect_refused(DIFFULEX_E_MODEL_FORMAT, {"'head_dim'", "does not divide hidden_size"});
}

TEST_F(ModelConfig, ReadsOtherValues) {
  config_["attention_bias"] = true;
  config_["tie_word_embeddings"] = true;
  config_["block_size"] = 16;
  config_["rms_norm_eps"] = 1e-5;
  config_.erase("rope_theta");
  config_["rope_parameters"] = {{"rope_theta", 5000}, {"rope_type", "default"}};
  config_["rope_scaling"] = {{"type", "default"}};
  config_.erase("torch_dtype");
  config_["dtype"] = "float16";
  const ArchSpec arch = read();
  EXPECT_TRUE(arch.qkv_bias);
  EXPECT_TRUE(arch.output_bias);
  EXPECT_TRUE(arch.tied_embeddings);
  EXPECT_EQ(arch.block_size, 16);
  EXPECT_EQ(arch.norm_eps, 1e-5F);
  EXPECT_EQ(arch.layers[2].rope_theta, 5000.0F);
  EXPECT_EQ(arch.checkpoint_dtype, DType::kF16);
}

TEST_F(ModelConfig, NamesEachMissingKey) {
  const std::vector<std::string> required = {"vocab_size",          "hidden_size",
                                             "intermediate_size",   "num_hidden_layers",
                                             "num_attention_heads", "max_position_embeddings"};
  for (const std::string& key : required) {
    const json saved = config_;
    config_.erase(key);
    expect_refused(DIFFULEX_E_MODEL_FORMAT, {"config.json: key '" + key + "' is missing"});
    config_ = saved;
  }
  for (const std::string& key : required) config_.erase(key);
  expect_refused(DIFFULEX_E_MODEL_FORMAT,
                 {required[0], required[1], required[2], required[3], required[4], required[5]});
}

TEST_F(ModelConfig, NamesEachMistypedKey) {
  const std::vector<std::pair<std::string, json>> mistyped = {
      {"vocab_size", "512"},
      {"hidden_size", 0},
      {"hidden_size", -96},
      {"hidden_size", 96.0},
      {"hidden_size", true},
      {"hidden_size", uint64_t{1} << 40},
      {"intermediate_size", "x"},
      {"num_hidden_layers", 5000},
      {"num_attention_heads", {}},
      {"num_key_value_heads", 1.5},
      {"head_dim", "32"},
      {"max_position_embeddings", -1},
      {"rms_norm_eps", "small"},
      {"rms_norm_eps", 0},
      {"rope_theta", -1},
      {"rope_theta", 1e300},
      {"attention_bias", 1},
      {"tie_word_embeddings", "no"},
      {"hidden_act", 3},
      {"use_sliding_window", "false"},
      {"block_size", 0},
      {"block_size", "4"},
      {"torch_dtype", 16},
      {"mask_token_id", "499"},
      {"mask_token_id", 512},
      {"mask_token_id", -1},
      {"eos_token_id", "x"},
      {"eos_token_id", {1, "x"}},
      {"bos_token_id", {1}},
      {"pad_token_id", 1.5},
      {"layer_types", "full"},
      {"layer_types", {1}},
      {"head_dim", 31},
      {"num_key_value_heads", 3},
  };
  for (const auto& [key, value] : mistyped) {
    const json saved = config_;
    config_[key] = value.is_null() ? json::array() : value;
    SCOPED_TRACE(key + " = " + config_[key].dump());
    expect_refused(DIFFULEX_E_MODEL_FORMAT, {"config.json: key '" + key + "' "});
    config_ = saved;
  }
}

TEST_F(ModelConfig, NamesAllBadKeysAtOnce) {
  config_.erase("vocab_size");
  config_["head_dim"] = "x";
  config_["rope_theta"] = false;
  expect_refused(DIFFULEX_E_MODEL_FORMAT, {"'vocab_size' is missing", "'head_dim' must be",
                                           "'rope_theta' must be a positive number"});
}

TEST_F(ModelConfig, RefusesWhatItDoesNotCompute) {
  const std::vector<std::pair<std::string, json>> unsupported = {
      {"hidden_act", "gelu"},
      {"use_sliding_window", true},
      {"rope_scaling", {{"rope_type", "yarn"}, {"factor", 4.0}}},
      {"rope_scaling", {{"type", "linear"}}},
      {"rope_scaling", {{"factor", 2.0}}},
      {"rope_parameters", {{"rope_type", "llama3"}, {"rope_theta", 1e4}}},
      {"quantization_config", {{"quant_method", "gptq"}}},
      {"torch_dtype", "float8_e4m3fn"},
      {"layer_types", {"full_attention", "sliding_attention"}},
  };
  for (const auto& [key, value] : unsupported) {
    const json saved = config_;
    config_[key] = value;
    SCOPED_TRACE(key + " = " + value.dump());
    expect_refused(DIFFULEX_E_MODEL_UNSUPPORTED, {"config.json: key '" + key + "': "});
    config_ = saved;
  }
}

TEST_F(ModelConfig, NeedsAReadableConfig) {
  expect_error(DIFFULEX_E_IO, {dir_ / "nowhere", "no such directory"},
               [this] { read_arch(dir_ / "nowhere"); });
  write_file(dir_ / "config.json", "{");
  expect_error(DIFFULEX_E_MODEL_FORMAT, {"config.json: not valid JSON"},
               [this] { read_arch(dir_.path()); });
  write_file(dir_ / "config.json", "{\"vocab_size\": 1, \"vocab_size\": 2}");
  expect_error(DIFFULEX_E_MODEL_FORMAT, {"'vocab_size' appears twice"},
               [this] { read_arch(dir_.path()); });
}

TEST_F(ModelConfig, NamesUnknownKinds) {
  config_["architectures"] = {"LlamaForCausalLM"};
  config_["model_type"] = "llama";
  expect_refused(DIFFULEX_E_MODEL_UNSUPPORTED, {"LlamaForCausalLM", "model_type 'llama'"});
  config_ = json::object();
  expect_refused(DIFFULEX_E_MODEL_UNSUPPORTED, {"architectures []"});
}

TEST_F(ModelConfig, NamesFamiliesToCome) {
  config_ = {{"architectures", {"SDARMoeForCausalLM"}}, {"model_type", "sdar_moe"}};
  expect_refused(DIFFULEX_E_MODEL_UNSUPPORTED, {"family 'sdar_moe' is not supported yet"});
}

TEST(Family, IsFoundByArchitectureOrType) {
  const auto family_of = [](const json& config) {
    const Family* family = find_family(identify(config));
    return family == nullptr ? std::string("?") : std::string(family->name);
  };
  const auto by_name = [&](const char* architecture, const char* type) {
    return family_of({{"architectures", {architecture}}, {"model_type", type}});
  };
  EXPECT_EQ(by_name("SDARForCausalLM", "x"), "sdar");
  EXPECT_EQ(by_name("x", "sdar"), "sdar");
  EXPECT_EQ(by_name("SDARMoeForCausalLM", "sdar_moe"), "sdar_moe");
  EXPECT_EQ(by_name("DiffusionGemmaForBlockDiffusion", "x"), "diffusion_gemma");
  EXPECT_EQ(by_name("x", "diffusion_gemma_text"), "diffusion_gemma");
  EXPECT_EQ(by_name("x", "llada2_moe_veomni"), "llada2");
  EXPECT_EQ(by_name("LLaDAMoEModelLM", "llada"), "llada_moe");
  EXPECT_EQ(by_name("LLaDAModelLM", "llada"), "llada");
  EXPECT_EQ(by_name("x", "llada"), "?");
  EXPECT_EQ(family_of({{"model_type", "llada"}, {"d_model", 64}}), "llada");
  EXPECT_EQ(by_name("Fast_dLLM_QwenForCausalLM", "x"), "fast_dllm_v2");
  EXPECT_EQ(by_name("x", "FastdLLMV2"), "fast_dllm_v2");
  EXPECT_EQ(by_name("StableDiffcoderForCausalLM", "llama"), "stable_diffcoder");
  EXPECT_EQ(family_of({{"architectures", {"LlamaForCausalLM"}},
                       {"auto_map", {{"AutoModel", "modeling_seed_diffcoder.Model"}}}}),
            "stable_diffcoder");
  EXPECT_EQ(by_name("DreamForCausalLM", "Dream"), "dream_reasoner");
  EXPECT_EQ(by_name("DreamModel", "Dream"), "dream");
  EXPECT_EQ(family_of({{"architectures", 3}, {"model_type", json::array()}}), "?");
}

TEST_F(ModelConfig, PrefersTheMaskOfTheConfig) {
  config_["mask_token_id"] = 300;
  EXPECT_EQ(read().mask_token, 300);
}

TEST_F(ModelConfig, FindsTheMaskThroughTheSpecialTokensMap) {
  write("special_tokens_map.json", {{"mask_token", "<MASK>"}});
  write("added_tokens.json", {{"<MASK>", 450}});
  EXPECT_EQ(read().mask_token, 450);
  write("special_tokens_map.json", {{"mask_token", {{"content", "<|im_start|>"}}}});
  EXPECT_EQ(read().mask_token, 498);  // by added_tokens_decoder
  write("added_tokens.json", {{"<|im_start|>", 451}});
  EXPECT_EQ(read().mask_token, 451);
}

TEST_F(ModelConfig, FindsTheMaskOfTheTokenizerConfigPastAnUnknownName) {
  write("special_tokens_map.json", {{"mask_token", "<nobody knows>"}});
  EXPECT_EQ(read().mask_token, 499);
}

TEST_F(ModelConfig, FallsBackToTheFamilysMask) {
  remove("tokenizer_config.json");
  expect_refused(DIFFULEX_E_MODEL_FORMAT, {"'mask_token_id' is missing"});
  config_["vocab_size"] = 151936;
  EXPECT_EQ(read().mask_token, 151669);
  config_["vocab_size"] = 151669;
  expect_refused(DIFFULEX_E_MODEL_FORMAT, {"'mask_token_id' is missing"});
}

TEST_F(ModelConfig, JoinsAllEosTokensInOrder) {
  config_["eos_token_id"] = {20, 10, 20};
  write("generation_config.json", {{"eos_token_id", {30, 10}}});
  write("tokenizer_config.json", {{"eos_token", {{"content", "w5"}}},
                                  {"mask_token", "w6"},
                                  {"added_tokens_decoder", decoder({{"<|im_end|>", 497}})}});
  EXPECT_EQ(read().eos_tokens, (std::vector<int32_t>{5, 20, 10, 30, 497}));
  write("generation_config.json", {{"eos_token_id", 31}});
  EXPECT_EQ(read().eos_tokens, (std::vector<int32_t>{5, 20, 10, 31, 497}));
}

TEST_F(ModelConfig, IgnoresEosTokensOutsideTheVocabulary) {
  config_["eos_token_id"] = {512, -1, 3};
  EXPECT_EQ(read().eos_tokens, (std::vector<int32_t>{497, 3}));
}

TEST_F(ModelConfig, RefusesABadGenerationConfig) {
  write("generation_config.json", {{"eos_token_id", "x"}});
  expect_error(DIFFULEX_E_MODEL_FORMAT, {"generation_config.json: key 'eos_token_id' must be"},
               [this] { read(); });
}

TEST_F(ModelConfig, CountsTokensOfVocabularyAndAddedTokens) {
  EXPECT_EQ(read().token_count, 500);
  write("added_tokens.json", {{"<extra>", 505}});
  EXPECT_EQ(read().token_count, 506);
  write("added_tokens.json", {{"<extra>", 2000}});
  EXPECT_EQ(read().token_count, 512);
}

TEST_F(ModelConfig, CountsTokensOfTokenizerJson) {
  remove("vocab.json");
  config_["mask_token_id"] = 9;
  write("tokenizer_config.json", json::object());
  json tokenizer = {{"model", {{"vocab", {{"a", 0}, {"b", 7}}}, {"merges", json::array()}}},
                    {"added_tokens", {{{"id", 8}, {"content", "<|im_end|>"}}}}};
  write("tokenizer.json", tokenizer);
  EXPECT_EQ(read().token_count, 9);
  EXPECT_EQ(read().eos_tokens, (std::vector<int32_t>{496, 8}));
  tokenizer["model"]["vocab"] = json::parse(R"([["a", 0.5], ["b", -1], ["c", 0]])");
  tokenizer.erase("added_tokens");
  write("tokenizer.json", tokenizer);
  EXPECT_EQ(read().token_count, 3);
}

TEST_F(ModelConfig, CountsAllRowsWithoutATokenizer) {
  remove("vocab.json");
  remove("tokenizer_config.json");
  config_["mask_token_id"] = 9;
  EXPECT_EQ(read().token_count, 512);
}

TEST_F(ModelConfig, NamesBadTokenizerFiles) {
  const std::vector<std::pair<const char*, const char*>> broken = {
      {"tokenizer.json", "{"},
      {"tokenizer.json", R"({"model": {}})"},
      {"tokenizer.json", R"({"model": {"vocab": {"a": "0"}}})"},
      {"tokenizer.json", R"({"model": {"vocab": [1]}})"},
      {"tokenizer.json", R"({"model": {"vocab": {}}, "added_tokens": [{"content": "x"}]})"},
      {"vocab.json", R"({"a": -1})"},
      {"added_tokens.json", "[]"},
      {"added_tokens.json", R"({"a": 99999999999})"},
      {"tokenizer_config.json", R"({"added_tokens_decoder": {"x": {"content": "x"}}})"},
      {"tokenizer_config.json", R"({"added_tokens_decoder": 1})"},
      {"special_tokens_map.json", ""},
  };
  for (const auto& [name, text] : broken) {
    SCOPED_TRACE(text);
    const TempDir dir;
    TinySdar().write_config(dir.path());
    write_file(dir / name, text);
    const Error error = expect_error(DIFFULEX_E_TOKENIZER, {std::string(name) + ": "},
                                     [&] { read_arch(dir.path()); });
    EXPECT_EQ(testing::detail(error, "path"), dir / name);
  }
}

}  // namespace
}  // namespace diffulex
