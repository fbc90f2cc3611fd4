// Tokenizer files for tests: a directory of their own, the model of the repository, tokenizers made
// to measure.
#pragma once

#include <unistd.h>
#include <utf8proc.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <random>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "text/tokenizer.h"
#include "text/utf8.h"

namespace diffulex::text {

inline const std::string kTinyDir = std::string(DIFFULEX_MODELS_DIR) + "/tiny-sdar";

inline std::shared_ptr<const Tokenizer> tiny() {
  static const std::shared_ptr<const Tokenizer> tokenizer = Tokenizer::load(kTinyDir);
  return tokenizer;
}

inline nlohmann::json read_json(const std::string& path) {
  std::ifstream in(path);
  return nlohmann::json::parse(in);
}

class TempDir {
 public:
  TempDir() {
    std::string pattern = (std::filesystem::temp_directory_path() / "text_test_XXXXXX").string();
    if (mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("no temporary directory");
    path_ = pattern;
  }
  ~TempDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;

  const std::string& path() const { return path_; }
  std::string file(const std::string& name) const { return path_ + "/" + name; }
  void write(const std::string& name, const std::string& content) const {
    std::ofstream(file(name), std::ios::binary) << content;
  }
  void write(const std::string& name, const nlohmann::json& content) const {
    write(name, content.dump());
  }

 private:
  std::string path_;
};

inline std::string utf8(uint32_t code) {
  std::string out(4, '\0');
  out.resize(static_cast<size_t>(utf8proc_encode_char(
      static_cast<utf8proc_int32_t>(code), reinterpret_cast<utf8proc_uint8_t*>(out.data()))));
  return out;
}

// The byte alphabet, written down from its definition: printable Latin-1 bytes are themselves, the
// others are numbered from U+0100.
inline std::string spell(std::string_view bytes) {
  const auto printable = [](unsigned b) {
    return (b > 0x20 && b < 0x7F) || (b > 0xA0 && b != 0xAD);
  };
  std::string out;
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    uint32_t code = byte;
    if (!printable(byte)) {
      code = 0x100;
      for (unsigned b = 0; b < byte; ++b) code += printable(b) ? 0 : 1;
    }
    out += utf8(code);
  }
  return out;
}

inline nlohmann::json byte_vocab() {
  nlohmann::json vocab = nlohmann::json::object();
  for (int byte = 0; byte < 256; ++byte)
    vocab[spell(std::string(1, static_cast<char>(byte)))] = byte;
  return vocab;
}

inline nlohmann::json byte_level(bool prefix_space, bool use_regex) {
  return {{"type", "ByteLevel"}, {"add_prefix_space", prefix_space}, {"use_regex", use_regex}};
}

// A tokenizer.json that knows single bytes and cuts nothing.
inline nlohmann::json plain_tokenizer() {
  return {{"added_tokens", nlohmann::json::array()},
          {"normalizer", nullptr},
          {"pre_tokenizer", byte_level(false, false)},
          {"decoder", {{"type", "ByteLevel"}}},
          {"model",
           {{"type", "BPE"},
            {"ignore_merges", false},
            {"vocab", byte_vocab()},
            {"merges", nlohmann::json::array()}}}};
}

inline std::shared_ptr<const Tokenizer> load_json(const nlohmann::json& tokenizer) {
  const TempDir dir;
  dir.write("tokenizer.json", tokenizer);
  return Tokenizer::load(dir.path());
}

inline std::string nfc(std::string_view text) {
  utf8proc_uint8_t* mapped = nullptr;
  const auto size =
      utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                   static_cast<utf8proc_ssize_t>(text.size()), &mapped,
                   static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
  if (size < 0) throw std::runtime_error("not UTF-8");
  std::string out(reinterpret_cast<const char*>(mapped), static_cast<size_t>(size));
  std::free(mapped);
  return out;
}

// Random text of all planes: letters, marks, digits, white space in runs, emoji.
class RandomText {
 public:
  explicit RandomText(uint32_t seed) : random_(seed) {}

  uint32_t below(uint32_t bound) { return random_() % bound; }

  uint32_t code() {
    switch (below(10)) {
      case 0:
      case 1:
        return 'a' + below(26);
      case 2:
        return 0x20 + below(0x5F);
      case 3: {
        constexpr uint32_t kSpaces[] = {' ', '\n', '\r', '\t', 0x85, 0xA0, 0x2003, 0x3000};
        return kSpaces[below(8)];
      }
      case 4:
        return 0x300 + below(0x70);
      case 5:
        return 0x4E00 + below(0x5200);
      case 6:
        return 0x1F300 + below(0x300);
      case 7:
        return 0x1100 + below(0x100);  // Hangul letters, which compose
      case 8: {
        const uint32_t near = 0x80 + below(0x2000);
        return is_later_than_nfc(near) ? 0xFFFD : near;
      }
      default: {  // normal forms are compared, which depend on the version of Unicode for a few
        const uint32_t any = below(0x110000);
        return (any >= 0xD800 && any < 0xE000) || is_later_than_nfc(any) ? 0xFFFD : any;
      }
    }
  }

  std::string text(size_t count) {
    std::string out;
    while (count > 0) {
      const std::string character = utf8(code());
      const size_t repeat = std::min<size_t>(count, below(8) == 0 ? 1 + below(5) : 1);
      for (size_t i = 0; i < repeat; ++i) out += character;
      count -= repeat;
    }
    return out;
  }

 private:
  std::mt19937 random_;
};

}  // namespace diffulex::text
