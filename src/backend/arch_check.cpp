#include "backend/arch_check.h"

#include <string>

#include "base/error.h"

namespace diffulex {
namespace {

[[noreturn]] void unsupported(const char* key, int value, const std::string& why) {
  throw Error(DIFFULEX_E_MODEL_UNSUPPORTED,
              std::string(key) + " = " + std::to_string(value) + ": " + why)
      .with("key", key);
}

}  // namespace

void check_heads(const ArchSpec& arch) {
  for (const LayerSpec& layer : arch.layers) {
    if (layer.head_dim < kLeastHeadDim || layer.head_dim > kMostHeadDim || layer.head_dim % 8 != 0)
      unsupported("head_dim", layer.head_dim,
                  "heads of " + std::to_string(kLeastHeadDim) + " to " +
                      std::to_string(kMostHeadDim) + " in steps of 8 are computed");
    if (layer.kv_heads < 1 || arch.heads % layer.kv_heads != 0)
      unsupported("num_key_value_heads", layer.kv_heads,
                  "it must divide num_attention_heads = " + std::to_string(arch.heads));
  }
}

}  // namespace diffulex
