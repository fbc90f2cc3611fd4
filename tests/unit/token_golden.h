// A golden file of tests/oracle/tokenizer_golden_file.py.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <vector>

namespace diffulex::text {

struct TokenGolden {
  using Numbers = std::vector<uint32_t>;

  uint64_t vocab_size = 0;
  uint64_t all_texts = 0;                      // a hash
  static constexpr uint32_t kMask = 0xFFFFFF;  // of numbers of three bytes

  // The low bits of hashes of:
  Numbers ids, plain_ids;      // special tokens parsed, or as plain text
  Numbers decoded;             // without special tokens
  Numbers pieces, normal;      // of the sweep, then of the first texts
  Numbers kept, skipped;       // sequences of ids decoded with and without special tokens
  std::vector<Numbers> whole;  // the ids themselves of the first texts

  static TokenGolden read(const std::string& path);
};

namespace golden_detail {

class Reader {
 public:
  explicit Reader(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    bytes_.assign(std::istreambuf_iterator<char>(in), {});
    if (bytes_.substr(0, 8) != "DTOKGOLD") throw std::runtime_error(path + " is no golden");
    pos_ = 8;
  }

  template <typename T>
  T number() {
    T value{};
    if (sizeof(T) > bytes_.size() - pos_) throw std::runtime_error("the golden ends too early");
    std::memcpy(&value, bytes_.data() + pos_, sizeof(T));
    pos_ += sizeof(T);
    return value;
  }

  std::vector<uint32_t> numbers() {
    std::vector<uint32_t> out(number<uint32_t>());
    if (out.size() > (bytes_.size() - pos_) / 3) {
      throw std::runtime_error("the golden ends too early");
    }
    for (uint32_t& value : out) {
      for (unsigned shift = 0; shift < 24; shift += 8) {
        value |= static_cast<uint32_t>(static_cast<uint8_t>(bytes_[pos_++])) << shift;
      }
    }
    return out;
  }

 private:
  std::string bytes_;
  size_t pos_ = 0;
};

}  // namespace golden_detail

inline TokenGolden TokenGolden::read(const std::string& path) {
  golden_detail::Reader reader(path);
  TokenGolden golden;
  golden.vocab_size = reader.number<uint64_t>();
  golden.all_texts = reader.number<uint64_t>();
  for (Numbers* section : {&golden.ids, &golden.plain_ids, &golden.decoded, &golden.pieces,
                           &golden.normal, &golden.kept, &golden.skipped}) {
    *section = reader.numbers();
  }
  const Numbers flat = reader.numbers();
  for (size_t i = 0; i < flat.size();) {
    const size_t begin = i + 1;
    i = begin + flat[i];
    if (i > flat.size()) throw std::runtime_error("the golden's ids end too early");
    golden.whole.emplace_back(flat.begin() + static_cast<std::ptrdiff_t>(begin),
                              flat.begin() + static_cast<std::ptrdiff_t>(i));
  }
  return golden;
}

}  // namespace diffulex::text
