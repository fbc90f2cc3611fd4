#include "model/tensor_name.h"

#include <algorithm>

namespace diffulex {
namespace {

bool contains(std::string_view name, std::string_view part) {
  return name.find(part) != std::string_view::npos;
}

}  // namespace

std::string canonical_tensor_name(std::string_view name) {
  std::string plain;
  while (!name.empty()) {
    const size_t end = std::min(name.find('.'), name.size() - 1) + 1;  // past the dot
    const std::string_view part = name.substr(0, end);
    if (part != "module." && part != "_orig_mod.") plain += part;
    name.remove_prefix(end);
  }
  // A wrapper's own "model." shows by what follows it.
  while (plain.starts_with("model.model.") || plain.starts_with("model.lm_head.")) {
    plain.erase(0, std::string_view("model.").size());
  }
  return plain;
}

bool is_ignorable_tensor(std::string_view name) {
  return name.ends_with("rotary_emb.inv_freq") || name.ends_with(".attention.masked_bias") ||
         name.starts_with("v_head.") || contains(name, ".v_head.") || contains(name, "_observer") ||
         contains(name, "vision_tower.") || contains(name, "vision_model.") ||
         name.starts_with("visual.") || contains(name, ".visual.");
}

}  // namespace diffulex
