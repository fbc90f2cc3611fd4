// What the tokenizer files of a directory say, before anything is built from it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/added_tokens.h"
#include "text/pre_tokenizer.h"

namespace diffulex::text {

enum Role : uint8_t { kEos, kBos, kPad, kMask, kRoleCount };
inline constexpr std::array<std::string_view, kRoleCount> kRoleNames = {"eos", "bos", "pad",
                                                                        "mask"};

struct RoleSpec {
  bool stated = false;  // some file speaks of this role, be it to say that there is none
  std::optional<std::string> text;  // of the token,
  int32_t id = -1;                  // or its id
};

struct TokenizerSpec {
  std::string vocab_path;
  std::string merges_path;
  std::vector<std::pair<std::string, int32_t>> vocab;
  std::vector<std::pair<std::string, std::string>> merges;  // by falling priority
  bool ignore_merges = false;  // a piece that is a token is not taken apart
  bool nfc = false;
  std::vector<PreTokenizerStep> steps;
  std::vector<AddedToken> added;
  std::array<RoleSpec, kRoleCount> roles;
  std::vector<std::string>
      special_texts;  // further tokens that are special whatever their flags say
};

// Reads tokenizer.json, or vocab.json and merges.txt, and the config files beside them. Errors: IO,
// TOKENIZER.
TokenizerSpec read_tokenizer_spec(const std::string& dir);

}  // namespace diffulex::text
