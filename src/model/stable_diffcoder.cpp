#include "model/stable_diffcoder.h"

#include <algorithm>
#include <cctype>
#include <string>

#include "model/dense_config.h"

namespace diffulex {
namespace {

bool names_diffcoder(const std::string& name) {
  std::string plain;
  for (const char c : name) {
    if (c != '_') plain += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  }
  return plain.find("stablediffcoder") != std::string::npos ||
         plain.find("seeddiffcoder") != std::string::npos;
}

}  // namespace

// Its model_type is "llama": only class and module names tell it apart, in several spellings.
bool is_stable_diffcoder(const ModelIdentity& identity) {
  return std::any_of(identity.architectures.begin(), identity.architectures.end(),
                     names_diffcoder) ||
         std::any_of(identity.auto_map.begin(), identity.auto_map.end(), names_diffcoder);
}

ArchSpec parse_stable_diffcoder(ConfigReader& config) {
  const int block_size = config.size_or("block_size", 4, kMaxBlockSize);
  const bool mlp_bias = config.flag_or("mlp_bias", false);
  ArchSpec arch = read_dense_config(config, {.rope_theta = 500000});
  arch.mlp_bias = mlp_bias;
  arch.block_size = block_size;
  return arch;
}

}  // namespace diffulex
