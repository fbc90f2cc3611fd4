// The tests' own reader of safetensors files, independent of src/io.
#pragma once

#include <cstdint>
#include <cstring>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <vector>

namespace diffulex_oracle {

struct Tensor {
  std::string dtype;
  std::vector<int64_t> shape;
  std::vector<char> bytes;

  int64_t size() const {
    int64_t n = 1;
    for (const int64_t s : shape) n *= s;
    return n;
  }
  float at(int64_t i) const {
    float f = 0;
    if (dtype == "F32") {
      std::memcpy(&f, bytes.data() + i * 4, 4);
    } else if (dtype == "BF16") {
      std::memcpy(reinterpret_cast<char*>(&f) + 2, bytes.data() + i * 2, 2);
    } else {
      int64_t n;
      std::memcpy(&n, bytes.data() + i * 8, 8);
      f = static_cast<float>(n);
    }
    return f;
  }
};

inline std::map<std::string, Tensor> read_safetensors(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("cannot read " + path);
  const std::vector<char> all{std::istreambuf_iterator<char>(file), {}};
  uint64_t header = 0;
  std::memcpy(&header, all.data(), 8);
  const auto json =
      nlohmann::json::parse(all.begin() + 8, all.begin() + 8 + static_cast<ptrdiff_t>(header));
  std::map<std::string, Tensor> tensors;
  for (const auto& [name, entry] : json.items()) {
    if (name == "__metadata__") continue;
    const char* const data = all.data() + 8 + header;
    tensors[name] = {entry["dtype"],
                     entry["shape"],
                     {data + entry["data_offsets"][0].get<uint64_t>(),
                      data + entry["data_offsets"][1].get<uint64_t>()}};
  }
  return tensors;
}

}  // namespace diffulex_oracle
