// Special token ids, which checkpoints spread over half a dozen files.
#pragma once

#include <string>
#include <vector>

#include "model/arch.h"
#include "model/config_reader.h"
#include "model/family.h"

namespace diffulex {

// Fills token_count, mask_token, eos_tokens, bos_token and pad_token of *arch. Throws when no
// source gives a mask id inside the vocabulary.
void derive_token_ids(const std::string& dir, const Family& family, ConfigReader& config,
                      ArchSpec* arch, std::vector<std::string>* warnings);

}  // namespace diffulex
