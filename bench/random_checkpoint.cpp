#include "random_checkpoint.h"

#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <vector>

#include "io/json.h"
#include "io/path.h"
#include "model/model_config.h"
#include "model/tensor_name.h"

namespace diffulex_bench {
namespace {

using namespace diffulex;
using nlohmann::json;
namespace fs = std::filesystem;

constexpr const char* kIndex = "model.safetensors.index.json";

// A tensor as its file will hold it.
struct Planned {
  std::string name;
  std::vector<int64_t> shape;
  uint64_t bytes = 0;
};
using Files = std::map<std::string, std::vector<Planned>>;

const char* name_of_file_dtype(DType dtype) {
  return dtype == DType::kF32 ? "F32" : dtype == DType::kF16 ? "F16" : "BF16";
}

// Where each tensor goes, by its canonical name: how the index spells it, and its file.
std::map<std::string, std::pair<std::string, std::string>> places(const std::string& metadata) {
  std::map<std::string, std::pair<std::string, std::string>> places;
  const std::string path = join_path(metadata, kIndex);
  if (!file_exists(path)) return places;
  const JsonDocument index = read_json_object(path);
  for (const auto& [name, file] : index.root().at("weight_map").items())
    places[canonical_tensor_name(name)] = {name, file.get<std::string>()};
  return places;
}

Files plan_files(const std::string& metadata, const ModelConfig& model) {
  const auto places_of = places(metadata);
  ModelWeights weights;
  Files files;
  for (const TensorSlot& slot : model.family->tensors(model.arch, &weights)) {
    const auto place = places_of.find(slot.name);
    const bool listed = place != places_of.end();
    if (slot.view == &weights.head && model.arch.tied_embeddings && !listed) continue;
    if (!places_of.empty() && !listed) throw std::runtime_error("not in the index: " + slot.name);
    Planned tensor{listed ? place->second.first : slot.name, slot.shape,
                   size_of(model.arch.checkpoint_dtype)};
    for (const int64_t extent : slot.shape) tensor.bytes *= static_cast<uint64_t>(extent);
    files[listed ? place->second.second : "model.safetensors"].push_back(std::move(tensor));
  }
  return files;
}

std::string header_of(const std::vector<Planned>& tensors, DType dtype) {
  json header = {{"__metadata__", {{"format", "pt"}}}};
  uint64_t at = 0;
  for (const Planned& tensor : tensors) {
    header[tensor.name] = {{"dtype", name_of_file_dtype(dtype)},
                           {"shape", tensor.shape},
                           {"data_offsets", {at, at + tensor.bytes}}};
    at += tensor.bytes;
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  std::string length(8, '\0');
  for (int i = 0; i < 8; ++i) length[i] = static_cast<char>(text.size() >> (8 * i));
  return length + text;
}

// Random numbers in the bytes of a dtype, taken again and again from another place.
class Noise {
 public:
  explicit Noise(DType dtype) : size_(size_of(dtype)) {
    for (const uint16_t x : random_bf16(kNumbers)) put(x, dtype, &matrix_);
    for (const uint16_t x : random_bf16(kNumbers)) put(0x3F00 | (x & 0xFF), dtype, &vector_);
  }

  void write(std::ofstream& file, const Planned& tensor) {
    const std::string& source = tensor.shape.size() > 1 ? matrix_ : vector_;
    for (uint64_t left = tensor.bytes; left > 0;) {
      begin_ = (begin_ + 65'537 * size_) % (source.size() / 2);
      const uint64_t part = std::min<uint64_t>(left, source.size() / 2);
      file.write(source.data() + begin_, static_cast<std::streamsize>(part));
      left -= part;
    }
  }

 private:
  static constexpr size_t kNumbers = size_t{1} << 23;

  // x: bf16 in [2^-7, 2^1), which an f16 holds too.
  static void put(int x, DType dtype, std::string* out) {
    const uint32_t sign = (static_cast<uint32_t>(x) & 0x8000) << 16;
    const uint32_t bits = static_cast<uint32_t>(x) << 16;
    const uint32_t half = sign >> 16 | ((bits >> 23 & 255) - 112) << 10 | (bits >> 13 & 1023);
    const uint32_t value = dtype == DType::kF32 ? bits : dtype == DType::kF16 ? half : bits >> 16;
    for (size_t i = 0; i < size_of(dtype); ++i) out->push_back(static_cast<char>(value >> (8 * i)));
  }

  size_t size_;
  std::string matrix_, vector_;
  size_t begin_ = 0;
};

void copy_small_files(const std::string& metadata, const std::string& out) {
  for (const fs::directory_entry& entry : fs::directory_iterator(metadata)) {
    if (entry.is_regular_file() && entry.path().extension() != ".safetensors")
      fs::copy_file(entry.path(), fs::path(out) / entry.path().filename());
  }
}

}  // namespace

uint64_t write_random_checkpoint(const std::string& metadata, const std::string& out) {
  const ModelConfig model = read_model_config(metadata);
  const DType dtype = model.arch.checkpoint_dtype;
  const Files files = plan_files(metadata, model);
  fs::create_directories(out);
  if (!fs::equivalent(metadata, out)) copy_small_files(metadata, out);
  Noise noise(dtype);
  uint64_t total = 0;
  for (const auto& [name, tensors] : files) {
    std::ofstream file(join_path(out, name), std::ios::binary | std::ios::trunc);
    const std::string header = header_of(tensors, dtype);
    file.write(header.data(), static_cast<std::streamsize>(header.size()));
    for (const Planned& tensor : tensors) {
      noise.write(file, tensor);
      total += tensor.bytes;
    }
    if (!file.flush()) throw std::runtime_error("cannot write " + join_path(out, name));
  }
  return total;
}

void write_config(const ModelShape& s, const std::string& out) {
  fs::create_directories(out);
  const json config = {{"architectures", {"SDARForCausalLM"}},
                       {"model_type", "sdar"},
                       {"vocab_size", s.vocabulary},
                       {"hidden_size", s.hidden},
                       {"intermediate_size", s.mlp},
                       {"num_hidden_layers", s.layers},
                       {"num_attention_heads", s.heads},
                       {"num_key_value_heads", s.kv_heads},
                       {"head_dim", s.dim},
                       {"block_size", 4},
                       {"max_position_embeddings", 32768},
                       {"tie_word_embeddings", true},
                       {"rms_norm_eps", 1e-6},
                       {"rope_theta", 1000000.0},
                       {"mask_token_id", s.vocabulary - 1},
                       {"eos_token_id", s.vocabulary - 2},
                       {"torch_dtype", "bfloat16"}};
  std::ofstream(join_path(out, "config.json")) << config.dump(2);
}

}  // namespace diffulex_bench
