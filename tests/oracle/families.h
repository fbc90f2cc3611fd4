// The tiny checkpoints of tests/data/families, written by tests/oracle/families.py: their files are
// made here from the same numbers, and their golden rows are read.
#pragma once

#include <cstdint>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "safetensors_file.h"

namespace diffulex_oracle {

inline constexpr const char* kFamilyCases[] = {"dream",
                                               "dream_reasoner",
                                               "fast_dllm_v2",
                                               "fast_dllm_v2_b8",
                                               "llada",
                                               "llada_gqa",
                                               "sdar",
                                               "sdar_b16",
                                               "stable_diffcoder",
                                               "stable_diffcoder_instruct",
                                               "stable_diffcoder_wide"};

// One row: some of its logits, the logarithm of the sum of all exponentials, and what is picked.
struct GoldenRow {
  static constexpr int kColumns = 8;
  int position;
  double logits[kColumns];
  double log_sum;
  int token;
  double confidence, entropy;

  int column(int c, int vocabulary) const { return (position * 37 + c * 67) % vocabulary; }
};

// A forward over ids in pieces; the rows from `first` on are golden. The first `cached` ones may be
// computed before the others.
struct Scenario {
  std::string name;
  std::vector<int32_t> ids;
  int cached, prompt, first;  // prompt: positions that see each other and nothing behind, or 0
  double largest;             // magnitude of the logits
  std::vector<GoldenRow> rows;
};

class FamilyCase {
 public:
  FamilyCase(const std::string& directory, const std::string& name)
      : doc_(nlohmann::json::parse(std::ifstream(directory + "/families/" + name + ".json"))) {}

  const nlohmann::json& expect() const { return doc_["expect"]; }
  const nlohmann::json& generate() const { return doc_["generate"]; }
  const nlohmann::json& bit_sums() const { return doc_["bit_sums"]; }
  int block() const { return doc_["block"]; }
  bool shift() const { return doc_["shift"]; }
  bool prefix_full() const { return doc_["prefix_full"]; }
  nlohmann::json config() const { return doc_["files"]["config.json"]; }

  // "prefill" or "decode"; of the file in this type, "f32" or "bf16".
  Scenario scenario(size_t index, const std::string& dtype) const {
    const nlohmann::json& from = doc_["scenarios"][index];
    Scenario s{from["name"],
               from["ids"],
               from["cached"],
               from["prompt"],
               from["first"],
               from["files"][dtype]["largest"],
               {}};
    for (const nlohmann::json& row : from["files"][dtype]["rows"]) {
      GoldenRow g{};
      g.position = s.first + static_cast<int>(s.rows.size());
      for (int c = 0; c < GoldenRow::kColumns; ++c)
        g.logits[c] = row[static_cast<size_t>(c)].get<double>();
      g.log_sum = row[8].get<double>();
      g.token = static_cast<int>(row[9].get<double>());
      g.confidence = row[10].get<double>();
      g.entropy = row[11].get<double>();
      s.rows.push_back(g);
    }
    return s;
  }

  std::vector<float> values(const std::string& tensor) const {
    for (const nlohmann::json& t : doc_["tensors"])
      if (t[0] == tensor) return values(t);
    throw std::runtime_error("no tensor " + tensor);
  }

  std::vector<diffulex::testing::TestTensor> tensors(bool bf16) const {
    std::vector<diffulex::testing::TestTensor> all;
    for (const nlohmann::json& t : doc_["tensors"]) {
      std::string bytes;
      for (const float x : values(t)) append(x, bf16, &bytes);
      all.push_back({t[0], bf16 ? "BF16" : "F32", t[1], std::move(bytes)});
    }
    return all;
  }

  // In one file, or two and an index. The config's dtype is left as it is.
  void write(const std::string& dir, bool bf16) const {
    using namespace diffulex::testing;
    for (const auto& [name, content] : doc_["files"].items())
      write_file(dir + "/" + name, content.dump());
    const std::vector<TestTensor> all = tensors(bf16);
    if (doc_["shards"] == 1) return write_file(dir + "/model.safetensors", safetensors_file(all));
    const char* const names[] = {"model-00001-of-00002.safetensors",
                                 "model-00002-of-00002.safetensors"};
    std::vector<TestTensor> parts[2];
    nlohmann::json map;
    for (size_t i = 0; i < all.size(); ++i) {
      parts[i * 2 / all.size()].push_back(all[i]);
      map[all[i].name] = names[i * 2 / all.size()];
    }
    for (int i = 0; i < 2; ++i) write_file(dir + "/" + names[i], safetensors_file(parts[i]));
    write_file(dir + "/model.safetensors.index.json", nlohmann::json{{"weight_map", map}}.dump());
  }

 private:
  static uint64_t mix(uint64_t x) {
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
    return x ^ (x >> 31);
  }

  // numbers() of families.py, bit for bit.
  std::vector<float> values(const nlohmann::json& tensor) const {
    uint64_t base = 0xCBF29CE484222325u;
    for (const char c : tensor[0].get<std::string>())
      base = (base ^ static_cast<unsigned char>(c)) * 0x100000001B3u;
    base ^= doc_["seed"].get<uint64_t>();
    size_t count = 1;
    for (const nlohmann::json& extent : tensor[1]) count *= extent.get<size_t>();
    const double mean = tensor[2], deviation = tensor[3];
    std::vector<float> out(count);
    for (size_t i = 0; i < count; ++i) {
      const uint64_t bits = mix(base + (i + 1) * 0x9E3779B97F4A7C15u);
      int lanes = 0;
      for (int lane = 0; lane < 4; ++lane) lanes += static_cast<int>(bits >> (16 * lane) & 0xFFFF);
      const volatile double z = (lanes - 131070) * 2.6429e-05;  // rounded here, never fused
      const volatile double scaled = deviation * z;
      out[i] = static_cast<float>(mean + scaled);
    }
    return out;
  }

  static void append(float x, bool bf16, std::string* bytes) {
    uint32_t bits = 0;
    std::memcpy(&bits, &x, 4);
    if (!bf16) return bytes->append(reinterpret_cast<const char*>(&bits), 4), void();
    const auto half = static_cast<uint16_t>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
    bytes->append(reinterpret_cast<const char*>(&half), 2);
  }

  nlohmann::json doc_;
};

}  // namespace diffulex_oracle
