#include "model/family.h"

#include <array>

#include "model/dream.h"
#include "model/dream_reasoner.h"
#include "model/fast_dllm_v2.h"
#include "model/llada.h"
#include "model/sdar.h"
#include "model/stable_diffcoder.h"

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

bool is_sdar_moe(const Identity& id) {
  return id.has_architecture("SDARMoeForCausalLM") || id.model_type == "sdar_moe";
}

// The first that matches wins: dream_reasoner goes before dream.
constexpr std::array<Family, 10> kFamilies = {{
    {"diffusion_gemma", is_diffusion_gemma},
    {"llada2", is_llada2},
    {"llada_moe", is_llada_moe},
    kLlada,
    {"sdar_moe", is_sdar_moe},
    kSdar,
    kFastDllmV2,
    kStableDiffcoder,
    kDreamReasoner,
    kDream,
}};

}  // namespace

std::span<const Family> families() { return kFamilies; }

const Family* find_family(const ModelIdentity& identity, std::span<const Family> known) {
  for (const Family& family : known) {
    if (family.matches(identity)) return &family;
  }
  return nullptr;
}

}  // namespace diffulex
