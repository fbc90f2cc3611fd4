// What the tokenizer files of a checkpoint say, checked.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "text/added_tokens.h"

namespace diffulex::text {

// One step of a pre-tokenizer: cut at the matches of a pattern, matches and gaps both kept.
struct SplitStep {
  std::string pattern;
};

struct TokenizerFiles {
  std::string path;                                         // of the main file, for messages
  std::map<std::string, int32_t> vocabulary;                // spelling -> id
  std::vector<std::pair<std::string, std::string>> merges;  // in order of rank
  bool ignore_merges = false;
  bool nfc = false;
  bool add_prefix_space = false;
  std::vector<SplitStep> splits;
  std::vector<AddedToken> added;
  std::map<std::string, std::string> roles;  // "eos" -> token text
};

// Throws Error: DIFFULEX_E_IO, DIFFULEX_E_TOKENIZER.
TokenizerFiles read_tokenizer_files(const std::string& dir);

}  // namespace diffulex::text
