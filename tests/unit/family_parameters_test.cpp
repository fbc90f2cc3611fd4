// The published models by their configs: as many parameters as they are known to have.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "model/family.h"

namespace diffulex {
namespace {

using nlohmann::json;

struct Published {
  const char* name;
  json config;
  const char* family;
  int64_t parameters;
};

json qwen(const char* architecture, const char* type, const std::vector<int>& sizes,
          bool tied = false) {
  return {{"architectures", {architecture}},  {"model_type", type},
          {"hidden_size", sizes[0]},          {"intermediate_size", sizes[1]},
          {"num_hidden_layers", sizes[2]},    {"num_attention_heads", sizes[3]},
          {"num_key_value_heads", sizes[4]},  {"vocab_size", sizes[5]},
          {"max_position_embeddings", 32768}, {"tie_word_embeddings", tied}};
}

json olmo(int mlp, json kv_heads, int vocabulary, bool tied) {
  return {{"architectures", {"LLaDAModelLM"}},
          {"model_type", "llada"},
          {"d_model", 4096},
          {"mlp_hidden_size", mlp},
          {"n_layers", 32},
          {"n_heads", 32},
          {"n_kv_heads", std::move(kv_heads)},
          {"vocab_size", vocabulary},
          {"embedding_size", vocabulary},
          {"max_sequence_length", 4096},
          {"weight_tying", tied}};
}

std::vector<Published> published() {
  const std::vector<int> qwen7 = {3584, 18944, 28, 28, 4, 152064},
                         qwen3 = {4096, 12288, 36, 32, 8, 151936};
  const char *sdar = "SDARForCausalLM", *fast = "Fast_dLLM_QwenForCausalLM";
  return {
      {"SDAR-1.7B", qwen(sdar, "sdar", {2048, 6144, 28, 16, 8, 151936}), "sdar", 2031739904},
      {"SDAR-4B", qwen(sdar, "sdar", {2560, 9728, 36, 32, 8, 151936}), "sdar", 4411424256},
      {"SDAR-8B", qwen(sdar, "sdar", qwen3), "sdar", 8190735360},
      {"DreamReasoner-8B", qwen("DreamForCausalLM", "Dream", qwen3), "dream_reasoner", 8190735360},
      {"Dream-7B", qwen("DreamModel", "Dream", qwen7), "dream", 7615616512},
      {"Fast-dLLM v2 1.5B", qwen(fast, "Fast_dLLM_Qwen", {1536, 8960, 28, 12, 2, 151936}, true),
       "fast_dllm_v2", 1543714304},
      {"Fast-dLLM v2 7B", qwen(fast, "Fast_dLLM_Qwen", qwen7), "fast_dllm_v2", 7615616512},
      {"Stable-DiffCoder-8B",
       qwen("StableDiffcoderForCausalLM", "llama", {4096, 14336, 32, 32, 8, 155136}),
       "stable_diffcoder", 8250462208},
      {"LLaDA-8B", olmo(12288, 32, 126464, false), "llada", 8015581184},
      {"iLLaDA-8B", olmo(14336, 8, 155136, true), "llada", 7615025152},
  };
}

TEST(Family, HasThePublishedNumbersOfParameters) {
  for (const Published& model : published()) {
    SCOPED_TRACE(model.name);
    const Family* const family = find_family(identify(model.config));
    ASSERT_NE(family, nullptr);
    EXPECT_EQ(family->name, model.family);
    const json document = json::parse(model.config.dump());  // sizes are unsigned, as in files
    ConfigReader config(document, "config.json");
    const ArchSpec arch = family->parse(config);
    EXPECT_NO_THROW(config.check());
    ModelWeights weights;
    int64_t parameters = 0;
    for (const TensorSlot& slot : family->tensors(arch, &weights)) {
      if (arch.tied_embeddings && slot.view == &weights.head) continue;
      int64_t elements = 1;
      for (const int64_t extent : slot.shape) elements *= extent;
      parameters += elements;
    }
    EXPECT_EQ(parameters, model.parameters);
  }
}

}  // namespace
}  // namespace diffulex
