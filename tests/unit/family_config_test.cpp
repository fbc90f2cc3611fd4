// What is special about the families' config.json and files, beside what families_test.cpp sees.
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <utility>

#include "model/checkpoint.h"
#include "model/family.h"
#include "model/model_config.h"
#include "oracle/families.h"
#include "unit/expect_error.h"

namespace diffulex {
namespace {

using diffulex_oracle::FamilyCase;
using nlohmann::json;
using testing::expect_error;
using testing::TempDir;
using testing::write_file;

// A checkpoint of a family case whose config tests may change.
class FamilyConfig : public ::testing::Test {
 protected:
  void use(const char* name) {
    family_.emplace_back(DIFFULEX_TEST_DATA_DIR, name);
    family_.back().write(dir_.path(), false);
    config_ = family_.back().config();
  }

  ModelConfig read() const {
    write_file(dir_ / "config.json", config_.dump());
    return read_model_config(dir_.path());
  }
  ArchSpec arch() const { return read().arch; }

  void expect_refused(diffulex_status status, std::initializer_list<std::string> parts) const {
    const Error error = expect_error(status, parts, [this] { read(); });
    EXPECT_EQ(testing::detail(error, "path"), dir_ / "config.json");
  }

  // One key at a time.
  void expect_unsupported(const std::vector<std::pair<std::string, json>>& values) {
    for (const auto& [key, value] : values) {
      SCOPED_TRACE(key + " = " + value.dump());
      const json saved = config_;
      config_[key] = value;
      expect_refused(DIFFULEX_E_MODEL_UNSUPPORTED, {"config.json: key '" + key + "': "});
      config_ = saved;
    }
  }

  bool warns(const std::string& part) const {
    const std::vector<std::string> warnings = read().warnings;
    return std::any_of(warnings.begin(), warnings.end(), [&](const std::string& warning) {
      return warning.find(part) != std::string::npos;
    });
  }

  void remove(const std::string& name) const { std::filesystem::remove(dir_ / name); }

  std::vector<FamilyCase> family_;  // at most one
  TempDir dir_;
  json config_;
};

TEST_F(FamilyConfig, EveryFamilyRefusesWhatTheBodyDoesNotCompute) {
  for (const char* name : {"dream", "dream_reasoner", "fast_dllm_v2", "sdar", "stable_diffcoder"}) {
    SCOPED_TRACE(name);
    family_.clear();
    use(name);
    expect_unsupported({{"hidden_act", "gelu"},
                        {"use_sliding_window", true},
                        {"rope_scaling", {{"rope_type", "yarn"}, {"factor", 4.0}}},
                        {"rope_parameters", {{"rope_type", "linear"}, {"rope_theta", 1e4}}},
                        {"layer_types", {"sliding_attention"}},
                        {"quantization_config", {{"quant_method", "fp8"}}}});
  }
}

TEST_F(FamilyConfig, LladaRefusesOtherLayers) {
  use("llada");
  expect_unsupported({{"alibi", true},
                      {"rope", false},
                      {"block_group_size", 2},
                      {"scale_logits", true},
                      {"input_emb_norm", true},
                      {"attention_layer_norm", true},
                      {"include_bias", true},
                      {"bias_for_layer_norm", true},
                      {"layer_norm_with_affine", false},
                      {"block_type", "sequential"},
                      {"layer_norm_type", "low_precision"},
                      {"clip_qkv", 8.0},
                      {"activation_type", "swiglu"},
                      {"rope_scaling", {{"type", "linear"}, {"factor", 2.0}}}});
  config_["alibi"] = "yes";
  expect_refused(DIFFULEX_E_MODEL_FORMAT, {"key 'alibi' must be true or false"});
}

TEST_F(FamilyConfig, LladaNamesItsOwnKeys) {
  use("llada");
  for (const char* key : {"d_model", "n_layers", "n_heads", "vocab_size", "max_sequence_length"}) {
    const json saved = config_;
    config_.erase(key);
    expect_refused(DIFFULEX_E_MODEL_FORMAT, {"key '" + std::string(key) + "' is missing"});
    config_ = saved;
  }
  config_["n_kv_heads"] = 3;
  expect_refused(DIFFULEX_E_MODEL_FORMAT, {"key 'n_kv_heads' must divide n_heads"});
  config_["n_kv_heads"] = nullptr;
  config_["n_heads"] = 3;
  expect_refused(DIFFULEX_E_MODEL_FORMAT, {"n_heads does not divide d_model"});
}

TEST_F(FamilyConfig, LladaFillsInWhatIsLeftOut) {
  use("llada");
  EXPECT_EQ(arch().layers[0].kv_heads, 4);
  config_["multi_query_attention"] = true;
  EXPECT_EQ(arch().layers[0].kv_heads, 1);
  config_["n_kv_heads"] = 2;
  EXPECT_EQ(arch().layers[0].kv_heads, 2);
  config_["mlp_hidden_size"] = nullptr;
  EXPECT_EQ(arch().layers[0].mlp_size, 256);
  config_["mlp_ratio"] = 2.5;
  EXPECT_EQ(arch().layers[0].mlp_size, 160);
  config_.erase("mlp_ratio");
  EXPECT_EQ(arch().layers[0].mlp_size, 256);
  config_.erase("rms_norm_eps");
  EXPECT_EQ(arch().norm_eps, 1e-5F);
  config_.erase("include_qkv_bias");
  EXPECT_FALSE(arch().qkv_bias);
  config_["use_qkv_bias"] = true;
  EXPECT_TRUE(arch().qkv_bias);
  EXPECT_FALSE(arch().output_bias);
  config_["include_qkv_bias"] = false;
  EXPECT_FALSE(arch().qkv_bias);
}

TEST_F(FamilyConfig, LladaKnowsTheMasksOfItsVocabularies) {
  use("llada");
  config_.erase("mask_token_id");
  expect_refused(DIFFULEX_E_MODEL_FORMAT, {"'mask_token_id' is missing"});
  config_["vocab_size"] = config_["embedding_size"] = 126464;
  EXPECT_EQ(arch().mask_token, 126336);
  EXPECT_TRUE(warns("assuming id 126336"));
  config_["vocab_size"] = config_["embedding_size"] = 155136;
  EXPECT_EQ(arch().mask_token, 5);
  config_["mask_token_id"] = 7;
  EXPECT_EQ(arch().mask_token, 7);
}

TEST_F(FamilyConfig, SpareRowsOfTheVocabularyAreLeftOut) {
  use("llada");
  EXPECT_EQ(arch().stored_rows, 520);
  config_["embedding_size"] = 511;
  expect_refused(DIFFULEX_E_MODEL_FORMAT, {"key 'embedding_size' must not be less"});
  config_["embedding_size"] = nullptr;
  EXPECT_EQ(arch().stored_rows, 512);
  expect_error(DIFFULEX_E_MODEL_FORMAT,
               {"'model.transformer.wte.weight' has shape [520, 64], expected [512, 64]"},
               [this] { Checkpoint::open(dir_.path()); });
  config_["embedding_size"] = 519;
  read();
  expect_error(DIFFULEX_E_MODEL_FORMAT, {"'model.transformer.wte.weight' has shape [520, 64]"},
               [this] { Checkpoint::open(dir_.path()); });
  config_["embedding_size"] = 520;
  read();
  const auto checkpoint = Checkpoint::open(dir_.path());
  const ModelWeights& weights = checkpoint->weights();
  EXPECT_EQ(weights.embedding.rows, 512);
  EXPECT_EQ(weights.embedding.bytes(), 512u * 64 * 4);
  EXPECT_EQ(weights.head.rows, 512);
  uint64_t bytes = 0;
  for (const TensorSlot& slot :
       olmo_tensors(checkpoint->arch(), &const_cast<ModelWeights&>(weights)))
    bytes += slot.view->bytes();
  EXPECT_EQ(checkpoint->weight_bytes(), bytes);
}

TEST_F(FamilyConfig, LladasHeadMayBeMissingOrTheEmbedding) {
  use("llada_gqa");
  EXPECT_TRUE(Checkpoint::open(dir_.path())->arch().tied_embeddings);
  config_["weight_tying"] = false;
  read();
  const auto untied = Checkpoint::open(dir_.path());
  EXPECT_TRUE(untied->arch().tied_embeddings);
  ASSERT_EQ(untied->warnings().size(), 1u);
  EXPECT_NE(untied->warnings()[0].find("no model.transformer.ff_out.weight"), std::string::npos);
}

// A Dream is a DreamReasoner when its attention is normed, as an index or the only file tell.
TEST_F(FamilyConfig, DreamReasonersAreToldByTheirTensors) {
  use("dream_reasoner");
  config_["architectures"] = {"DreamModel"};
  EXPECT_EQ(arch().family, "dream_reasoner");
  remove("model.safetensors");
  EXPECT_EQ(arch().family, "dream");
  write_file(dir_ / "model.safetensors.index.json",
             R"({"weight_map": {"model.layers.0.self_attn.q_norm.weight": "a.safetensors"}})");
  EXPECT_EQ(arch().family, "dream_reasoner");
  write_file(dir_ / "model.safetensors.index.json",
             R"({"weight_map": {"model.layers.0.self_attn.q_proj.weight": "a.safetensors"}})");
  EXPECT_EQ(arch().family, "dream");
  config_["architectures"] = {"DreamForCausalLM"};
  EXPECT_EQ(arch().family, "dream_reasoner");
  EXPECT_TRUE(arch().qk_norm);
}

TEST_F(FamilyConfig, Qwen25HasItsBiasesWhateverTheConfigSays) {
  for (const char* name : {"dream", "fast_dllm_v2"}) {
    family_.clear();
    use(name);
    for (const bool said : {false, true}) {
      config_["attention_bias"] = said;
      EXPECT_TRUE(arch().qkv_bias);
      EXPECT_FALSE(arch().output_bias);
      EXPECT_FALSE(arch().mlp_bias);
    }
  }
}

TEST_F(FamilyConfig, DefaultsAreThoseOfTheFamily) {
  use("stable_diffcoder");
  EXPECT_EQ(arch().layers[0].rope_theta, 500000.0F);
  config_.erase("mlp_bias");
  EXPECT_FALSE(arch().mlp_bias);
  use("fast_dllm_v2");
  config_.erase("bd_size");
  config_.erase("rope_theta");
  EXPECT_EQ(arch().block_size, 32);
  EXPECT_EQ(arch().layers[0].rope_theta, 10000.0F);
  config_["rope_parameters"] = {{"rope_theta", 1234.0}};
  EXPECT_EQ(arch().layers[0].rope_theta, 1234.0F);
  config_["bd_size"] = 257;
  expect_refused(DIFFULEX_E_MODEL_FORMAT, {"key 'bd_size' must be"});
}

TEST_F(FamilyConfig, SdarRefusesPromptsThatAreReadOtherwise) {
  use("sdar");
  expect_unsupported({{"use_regular_causal", true}, {"block_causal_prompt", false}});
  config_["use_regular_causal"] = false;
  config_["block_causal_prompt"] = true;
  EXPECT_EQ(arch().family, "sdar");
}

TEST_F(FamilyConfig, WarnsOfIdsThatTheTokenizerDoesNotKnow) {
  use("dream");
  EXPECT_TRUE(read().warnings.empty());
  config_["mask_token_id"] = 505;
  EXPECT_EQ(arch().mask_token, 505);
  EXPECT_TRUE(warns("the mask id 505 is unknown to the tokenizer"));
  config_["eos_token_id"] = {496, 506};
  EXPECT_TRUE(warns("the eos id 506 is unknown to the tokenizer"));
}

TEST_F(FamilyConfig, TheConfigsIdsGoBeforeTheTokenizers) {
  use("dream");
  write_file(dir_ / "special_tokens_map.json",
             R"({"pad_token": "w7", "bos_token": {"content": "w8"}, "eos_token": "w9"})");
  EXPECT_EQ(arch().pad_token, 496);
  config_["pad_token_id"] = nullptr;
  config_.erase("bos_token_id");
  EXPECT_EQ(arch().pad_token, 7);
  EXPECT_EQ(arch().bos_token, 8);
  EXPECT_EQ(arch().eos_tokens, (std::vector<int32_t>{496, 9, 497}));
}

TEST_F(FamilyConfig, OtherFamiliesAreNamedAndRefused) {
  for (const Family& family : families()) EXPECT_EQ(family.name.data()[family.name.size()], '\0');
  use("sdar");
  for (const auto& [architecture, name] :
       {std::pair{"LLaDA2MoeModelLM", "llada2"},
        {"LLaDAMoEModelLM", "llada_moe"},
        {"SDARMoeForCausalLM", "sdar_moe"},
        {"DiffusionGemmaForBlockDiffusion", "diffusion_gemma"}}) {
    config_["architectures"] = {architecture};
    expect_refused(DIFFULEX_E_MODEL_UNSUPPORTED,
                   {"family '" + std::string(name) + "' is not supported yet"});
  }
}

}  // namespace
}  // namespace diffulex
