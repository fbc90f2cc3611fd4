// A tokenizer.json that needs no training: every byte is a token, whose id it is.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <utility>

namespace diffulex::testing {

// The vocabulary of byte-level tokenizers without merges: how each byte is spelt.
inline nlohmann::json byte_vocabulary() {
  nlohmann::json vocabulary;
  int next = 256;  // bytes that are no printable character are spelt behind the Latin ones
  for (int byte = 0; byte < 256; ++byte) {
    const bool printable = (byte > 32 && byte < 127) || (byte > 160 && byte != 173);
    const int code = printable ? byte : next++;
    std::string spelt;
    if (code < 128)
      spelt = static_cast<char>(code);
    else
      spelt = {static_cast<char>(0xC0 | code >> 6), static_cast<char>(0x80 | (code & 63))};
    vocabulary[spelt] = byte;
  }
  return vocabulary;
}

// added: its added tokens, an array.
inline nlohmann::json byte_tokenizer(nlohmann::json added) {
  const nlohmann::json bytes = {
      {"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}};
  return {{"added_tokens", std::move(added)},
          {"normalizer", nullptr},
          {"pre_tokenizer", bytes},
          {"decoder", {{"type", "ByteLevel"}}},
          {"model",
           {{"type", "BPE"},
            {"ignore_merges", false},
            {"vocab", byte_vocabulary()},
            {"merges", nlohmann::json::array()}}}};
}

}  // namespace diffulex::testing
