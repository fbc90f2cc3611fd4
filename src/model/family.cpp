#include "model/family.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <string>

#include "model/sdar.h"

namespace diffulex {
namespace {

using Identity = ModelIdentity;

bool is_diffusion_gemma(const Identity& id) {
  return id.architecture_contains("DiffusionGemma") || id.model_type.starts_with("diffusion_gemma");
}

bool is_llada2(const Identity& id) {
  return id.has_architecture("LLaDA2MoeModelLM") || id.model_type == "llada2_moe" ||
         id.model_type == "llada2_moe_veomni" || id.model_type == "llada21_moe";
}

bool is_llada_moe(const Identity& id) {
  return id.has_architecture("LLaDAMoEModelLM") || id.model_type == "lladamoe";
}

bool is_llada(const Identity& id) {
  return id.has_architecture("LLaDAModelLM") || (id.model_type == "llada" && id.has_d_model);
}

bool is_sdar_moe(const Identity& id) {
  return id.has_architecture("SDARMoeForCausalLM") || id.model_type == "sdar_moe";
}

bool is_fast_dllm_v2(const Identity& id) {
  const auto& names = id.architectures;
  return std::any_of(names.begin(), names.end(),
                     [](const std::string& name) { return name.starts_with("Fast_dLLM"); }) ||
         id.model_type == "Fast_dLLM_Qwen" || id.model_type == "FastdLLMV2";
}

// Its model_type is "llama": only class and module names tell it apart, in several spellings.
bool names_diffcoder(const std::string& name) {
  std::string plain;
  for (const char c : name) {
    if (c != '_') plain += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  }
  return plain.find("stablediffcoder") != std::string::npos ||
         plain.find("seeddiffcoder") != std::string::npos;
}

bool is_stable_diffcoder(const Identity& id) {
  return std::any_of(id.architectures.begin(), id.architectures.end(), names_diffcoder) ||
         std::any_of(id.auto_map.begin(), id.auto_map.end(), names_diffcoder);
}

bool is_dream_reasoner(const Identity& id) {
  return id.model_type == "Dream" && id.has_architecture("DreamForCausalLM");
}

bool is_dream(const Identity& id) { return id.model_type == "Dream"; }

// In order of detection.
constexpr std::array<Family, 10> kFamilies = {{
    {"diffusion_gemma", is_diffusion_gemma},
    {"llada2", is_llada2},
    {"llada_moe", is_llada_moe},
    {"llada", is_llada},
    {"sdar_moe", is_sdar_moe},
    kSdar,
    {"fast_dllm_v2", is_fast_dllm_v2},
    {"stable_diffcoder", is_stable_diffcoder},
    {"dream_reasoner", is_dream_reasoner},
    {"dream", is_dream},
}};

}  // namespace

const Family* find_family(const ModelIdentity& identity) {
  for (const Family& family : kFamilies) {
    if (family.matches(identity)) return &family;
  }
  return nullptr;
}

}  // namespace diffulex
