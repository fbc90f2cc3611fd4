// Texts for the goldens of tokenizers, made from a number as tests/oracle/tokenizer_texts.py makes
// them.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text_files.h"

namespace diffulex::text {

// The splitmix64 generator.
class SplitMix {
 public:
  explicit SplitMix(uint64_t seed) : state_(seed) {}

  uint32_t below(uint64_t bound) {
    state_ += 0x9E3779B97F4A7C15ULL;
    uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
    return static_cast<uint32_t>((((z ^ (z >> 31)) >> 32) * bound) >> 32);
  }

 private:
  uint64_t state_;
};

// The FNV-1a hash of numbers, 64 bits folded to 32.
class FoldedHash {
 public:
  void add(uint64_t value) { state_ = (state_ ^ value) * 0x100000001B3ULL; }
  uint64_t state() const { return state_; }
  uint32_t folded() const { return static_cast<uint32_t>(state_ ^ (state_ >> 32)); }

 private:
  uint64_t state_ = 0xCBF29CE484222325ULL;
};

inline uint32_t fold(std::string_view bytes) {
  FoldedHash hash;
  for (const char c : bytes) hash.add(static_cast<uint8_t>(c));
  return hash.folded();
}

inline uint32_t fold(std::span<const int32_t> ids) {
  FoldedHash hash;
  for (const int32_t id : ids) hash.add(static_cast<uint32_t>(id));
  return hash.folded();
}

inline std::vector<std::string> characters(const std::string& text) {
  std::vector<std::string> out;
  for (const char c : text) {
    if ((static_cast<uint8_t>(c) & 0xC0) != 0x80) out.emplace_back();
    out.back() += c;
  }
  return out;
}

class TokenTexts {
 public:
  static constexpr uint32_t kCount = 20000;

  // The contents of the added tokens in the order of their ids.
  explicit TokenTexts(const std::vector<std::string>& added)
      : tables_(read_json(std::string(DIFFULEX_TEST_DATA_DIR) + "/tokenizers/texts.json")) {
    for (const std::string& content : added) added_.push_back(characters(content));
    for (const Json& alphabet : tables_["alphabets"]) {
      alphabets_.push_back(characters(alphabet.get<std::string>()));
    }
  }

  std::string text(uint64_t index) {
    random_ = SplitMix(index);
    out_.clear();
    if (index % kLongEvery == 0) long_word();
    const uint32_t pieces = 1 + below(12);
    for (uint32_t i = 0; i < pieces; ++i) piece(below(16));
    return out_;
  }

 private:
  using Json = nlohmann::json;
  static constexpr uint64_t kLongEvery = 499;

  uint32_t below(uint64_t bound) { return random_.below(bound); }
  void put(uint32_t code) { out_ += utf8(code); }

  const Json& pick(const char* table) {
    const Json& items = tables_[table];
    return items[below(items.size())];
  }
  void put_one(const char* table) { out_ += pick(table).get_ref<const std::string&>(); }
  void put_some(const char* table, uint32_t most) {
    for (uint32_t left = 1 + below(most); left > 0; --left) put_one(table);
  }

  void piece(uint32_t kind) {
    using Maker = void (TokenTexts::*)();
    constexpr std::array<Maker, 16> kMakers = {
        &TokenTexts::word,   &TokenTexts::word,   &TokenTexts::word,        &TokenTexts::letters,
        &TokenTexts::spaces, &TokenTexts::digits, &TokenTexts::shortcut,    &TokenTexts::marks,
        &TokenTexts::jamo,   &TokenTexts::emoji,  &TokenTexts::anything,    &TokenTexts::script,
        &TokenTexts::token,  &TokenTexts::repeat, &TokenTexts::punctuation, &TokenTexts::lines};
    (this->*kMakers[kind])();
  }

  void word() { put_one("words"); }

  void letters() {
    const bool upper = below(4) == 0;
    for (uint32_t i = 0, count = 1 + below(12); i < count; ++i) {
      put((upper && i == 0 ? 'A' : 'a') + below(26));
    }
  }

  void spaces() { put_some("spaces", 5); }

  void digits() {
    const auto zero = pick("zeros").get<uint32_t>();
    for (uint32_t left = 1 + below(6); left > 0; --left) put(zero + below(10));
  }

  void shortcut() {
    put_one("apostrophes");
    put_one("suffixes");
  }

  void marks() {
    put_one("bases");
    put_some("marks", 4);
  }

  void jamo() {
    for (uint32_t left = 1 + below(4); left > 0; --left) put(0x1100 + below(0x100));
  }

  void emoji() { put_some("emoji", 4); }

  void anything() {
    for (uint32_t left = 1 + below(4); left > 0; --left) {
      const uint32_t code = below(0x110000);
      put(code >= 0xD800 && code < 0xE000 ? 0xFFFD : code);
    }
  }

  void script() {
    const auto [first, last] = pick("ranges").get<std::pair<uint32_t, uint32_t>>();
    for (uint32_t left = 1 + below(6); left > 0; --left) put(first + below(last - first + 1));
  }

  void token() {
    const std::vector<std::string>& content = added_[below(added_.size())];
    size_t size = content.size();
    if (below(4) == 0) size = 1 + below(size);
    if (below(3) == 0) spaces();
    for (size_t i = 0; i < size; ++i) out_ += content[i];
    if (below(3) == 0) spaces();
  }

  void repeat() {
    const auto& unit = pick("repeated").get_ref<const std::string&>();
    for (uint32_t left = 1 + below(40); left > 0; --left) out_ += unit;
  }

  void punctuation() { put_some("punctuation", 5); }
  void lines() { put_some("lines", 3); }

  void long_word() {
    const std::vector<std::string>& alphabet = alphabets_[below(alphabets_.size())];
    for (uint32_t left = 5000 + below(5000); left > 0; --left) {
      out_ += alphabet[below(alphabet.size())];
    }
  }

  Json tables_;
  std::vector<std::vector<std::string>> added_, alphabets_;  // as characters
  SplitMix random_{0};
  std::string out_;
};

// Every code point that is or may be assigned, between letters, digits and spaces.
inline std::vector<std::string> sweep_texts() {
  constexpr uint32_t kStep = 64;
  constexpr std::array<std::pair<uint32_t, uint32_t>, 3> kSweep = {
      {{0x0, 0xD800}, {0xE000, 0x40000}, {0xE0000, 0xE1000}}};
  std::vector<std::string> texts;
  for (const auto& [first, end] : kSweep) {
    for (uint32_t begin = first; begin < end; begin += kStep) {
      std::string& text = texts.emplace_back();
      for (uint32_t code = begin; code < begin + kStep; ++code) {
        const std::string c = utf8(code);
        text += "a" + c + "a 1" + c + "1 " + c + c;
      }
    }
  }
  return texts;
}

inline std::vector<int32_t> id_sequence(uint64_t index, int32_t vocab_size) {
  SplitMix random((1ULL << 40) + index);
  std::vector<int32_t> ids(1 + random.below(20));
  for (int32_t& id : ids)
    id = static_cast<int32_t>(random.below(static_cast<uint64_t>(vocab_size)));
  return ids;
}

}  // namespace diffulex::text
