#include "directory_faults.h"

#include <filesystem>
#include <limits>

namespace diffulex_tests::errors {
namespace {

using nlohmann::json;
using Published = PublishedCheckpoint;

constexpr diffulex_status kFormat = DIFFULEX_E_MODEL_FORMAT;
constexpr diffulex_status kUnsupported = DIFFULEX_E_MODEL_UNSUPPORTED;
constexpr diffulex_status kTokenizer = DIFFULEX_E_TOKENIZER;
constexpr const char* kQuery = "model.layers.0.self_attn.q_proj.weight";
constexpr const char* kNorm = "model.norm.weight";

std::function<void(Published&)> set(const char* key, const json& value) {
  return [=](Published& p) { p.model.config[key] = value; };
}

std::function<void(const TempDir&)> replace(const char* file, const std::string& content) {
  return [=](const TempDir& dir) { write_file(dir / file, content); };
}

std::function<void(const TempDir&)> remove(const char* file) {
  return [=](const TempDir& dir) { std::filesystem::remove(dir / file); };
}

// Changes the text of a file in one place.
std::function<void(const TempDir&)> edit(const char* file, const std::string& from,
                                         const std::string& to) {
  return [=](const TempDir& dir) {
    std::string text = read_file(dir / file);
    const size_t at = text.find(from);
    if (at == std::string::npos) throw std::runtime_error("no " + from + " in " + file);
    write_file(dir / file, text.replace(at, from.size(), to));
  };
}

std::function<void(const TempDir&)> index_entry(const char* tensor, const json& file) {
  return [=](const TempDir& dir) {
    json index = json::parse(read_file(dir / kIndex));
    index["weight_map"][tensor] = file;
    write_file(dir / kIndex, index.dump());
  };
}

// The header of the second shard after a change.
std::function<void(const TempDir&)> header(const std::function<void(json&)>& change) {
  return [=](const TempDir& dir) {
    const std::string file = read_file(dir / Published::kSecond);
    uint64_t length = 0;
    for (int i = 7; i >= 0; --i) length = length << 8 | static_cast<unsigned char>(file[i]);
    json parsed = json::parse(file.substr(8, length));
    change(parsed);
    write_file(dir / Published::kSecond, safetensors_file(parsed.dump(), file.substr(8 + length)));
  };
}

void add_tensor(Published& p, const char* name, const char* dtype, size_t bytes) {
  TestTensor tensor{name, dtype, {static_cast<int64_t>(bytes)}, std::string(bytes, '\0')};
  if (std::string(dtype) == "I32") tensor.shape = {static_cast<int64_t>(bytes / 4)};
  p.model.tensors.push_back(std::move(tensor));
}

// As many bytes for each row as it has columns.
std::function<void(Published&)> retyped(const char* dtype) {
  return [=](Published& p) {
    TestTensor& query = p.model.tensor(kQuery);
    query.dtype = dtype;
    query.bytes.resize(64 * 64);
  };
}

}  // namespace

std::vector<Fault> config_faults() {
  const auto rename = [](Published& p) {
    p.model.config["num_hidden_layer"] = p.model.config["num_hidden_layers"];
    p.model.config.erase("num_hidden_layers");
  };
  return {
      {"no config", DIFFULEX_E_IO, {"there is no config.json"}, nullptr, remove(kConfig)},
      {"config cut", kFormat, {"config.json", "not valid JSON"}, nullptr, replace(kConfig, "{")},
      {"key misspelt",
       kFormat,
       {"config.json", "'num_hidden_layers' is missing", "'num_hidden_layer'"},
       rename,
       nullptr},
      {"key of the wrong type",
       kFormat,
       {"config.json", "'hidden_size' must be"},
       set("hidden_size", "64"),
       nullptr},
      {"number out of range",
       kFormat,
       {"config.json", "'num_attention_heads' must be", "4194304"},
       set("num_attention_heads", 1 << 30),
       nullptr},
      {"key twice",
       kFormat,
       {"config.json", "'head_dim'", "twice"},
       nullptr,
       edit(kConfig, "{", "{\"head_dim\": 16,")},
      {"eps is NaN",
       kFormat,
       {"config.json", "'rms_norm_eps'", "line"},
       nullptr,
       edit(kConfig, "1e-06", "NaN")},
      {"eps is zero",
       kFormat,
       {"config.json", "'rms_norm_eps' must be"},
       set("rms_norm_eps", 0.0),
       nullptr},
      {"architecture unknown",
       kUnsupported,
       {"config.json", "LlamaForCausalLM"},
       [](Published& p) {
         p.model.config["architectures"] = {"LlamaForCausalLM"};
         p.model.config["model_type"] = "llama";
       },
       nullptr},
      {"family recognised, not supported",
       kUnsupported,
       {"config.json", "'diffusion_gemma' is not supported"},
       set("architectures", {"DiffusionGemmaForBlockDiffusion"}),
       nullptr},
      {"scaled rope",
       kUnsupported,
       {"config.json", "'rope_scaling'", "yarn"},
       set("rope_scaling", {{"rope_type", "yarn"}, {"factor", 4}}),
       nullptr},
      {"mask outside the vocabulary",
       kFormat,
       {"config.json", "'mask_token_id'", "vocabulary"},
       set("mask_token_id", Published::kVocabulary),
       nullptr},
      {"another vocabulary size",
       kFormat,
       {"'lm_head.weight'", "'model.embed_tokens.weight'", "[264, 64], expected [280, 64]"},
       set("vocab_size", 280),
       nullptr},
      {"generation config cut",
       kFormat,
       {"generation_config.json", "not valid JSON"},
       nullptr,
       replace("generation_config.json", "{")},
  };
}

std::vector<Fault> weight_faults() {
  return {
      {"tensor missing",
       kFormat,
       {"missing tensor 'model.norm.weight' of shape [64]"},
       [](Published& p) {
         std::erase_if(p.model.tensors, [](const TestTensor& t) { return t.name == kNorm; });
       },
       nullptr},
      {"tensor unexpected",
       kFormat,
       {Published::kSecond, "unexpected tensor 'model.extra.weight' U32"},
       [](Published& p) {
         p.model.tensors.push_back({"model.extra.weight", "U32", {2}, "01234567"});
       },
       nullptr},
      {"tensor twice",
       kFormat,
       {Published::kSecond, "'module.model.norm.weight' is there twice", "'model.norm.weight'"},
       [](Published& p) {
         p.model.tensors.push_back(TinyCheckpoint::zeros("module.model.norm.weight", {64}));
       },
       nullptr},
      {"wrong shape",
       kFormat,
       {Published::kFirst, kQuery, "shape [32, 64], expected [64, 64]"},
       [](Published& p) {
         p.model.tensor(kQuery) = TinyCheckpoint::zeros(kQuery, {32, 64});
       },
       nullptr},
      {"wrong dtype",
       kFormat,
       {Published::kSecond, kNorm, "dtype I32, not F32, F16 or BF16"},
       [](Published& p) { p.model.tensor(kNorm).dtype = "I32"; },
       nullptr},
      {"index cut", kFormat, {kIndex, "not valid JSON"}, nullptr, replace(kIndex, "{\"weight_map")},
      {"index without a map", kFormat, {kIndex, "'weight_map'"}, nullptr, replace(kIndex, "{}")},
      {"index names a missing file",
       kFormat,
       {kIndex, "'gone.safetensors' is missing", kNorm, "download"},
       nullptr,
       index_entry(kNorm, "gone.safetensors")},
      {"index leads outside",
       kFormat,
       {kIndex, kNorm, "'../model.safetensors'", "not a file of this directory"},
       nullptr,
       index_entry(kNorm, "../model.safetensors")},
      {"index names the wrong shard",
       kFormat,
       {kIndex, kNorm, "is not in 'model-00001-of-00002.safetensors'"},
       nullptr,
       index_entry(kNorm, Published::kFirst)},
      {"shard missing",
       kFormat,
       {kIndex, "'model-00002-of-00002.safetensors' is missing", "download"},
       nullptr,
       remove(Published::kSecond)},
      {"shard missing, no index",
       kFormat,
       {"model-00001-of-00002.safetensors", "shard is missing"},
       nullptr,
       [](const TempDir& dir) {
         std::filesystem::remove(dir / kIndex);
         std::filesystem::remove(dir / Published::kFirst);
       }},
      {"shard cut",
       kFormat,
       {Published::kSecond, "outside", "more tensors; is the file complete?"},
       nullptr,
       [](const TempDir& dir) {
         std::filesystem::resize_file(dir / Published::kSecond,
                                      std::filesystem::file_size(dir / Published::kSecond) / 8);
       }},
      {"shard empty",
       kFormat,
       {Published::kSecond, "short"},
       nullptr,
       replace(Published::kSecond, "")},
      {"header too long",
       kFormat,
       {Published::kSecond, "header length", "limit"},
       nullptr,
       replace(Published::kSecond, safetensors_header(200'000'000) + "{}")},
      {"offsets overlap",
       kFormat,
       {Published::kSecond, kNorm, "overlaps"},
       nullptr,
       header([](json& h) {
         json& offsets = h[kNorm]["data_offsets"];
         offsets = {offsets[0].get<uint64_t>() - 4, offsets[1].get<uint64_t>() - 4};
       })},
      {"shard is a link to itself",
       DIFFULEX_E_IO,
       {Published::kSecond, "symbolic links"},
       nullptr,
       [](const TempDir& dir) {
         std::filesystem::remove(dir / Published::kSecond);
         std::filesystem::create_symlink(Published::kSecond, dir / Published::kSecond);
       }},
      {"shard is a directory",
       DIFFULEX_E_IO,
       {Published::kSecond, "directory"},
       nullptr,
       [](const TempDir& dir) {
         std::filesystem::remove(dir / Published::kSecond);
         std::filesystem::create_directory(dir / Published::kSecond);
       }},
      {"shard is a pointer of Git LFS",
       kFormat,
       {Published::kSecond, "git lfs pull"},
       nullptr,
       replace(Published::kSecond,
               "version https://git-lfs.example/spec/v1\noid sha256:0\nsize 9\n")},
  };
}

std::vector<Fault> format_faults() {
  const auto quantized = [](const json& settings) { return set("quantization_config", settings); };
  const auto only = [](const char* file) {
    return [=](const TempDir& dir) {
      for (const char* name : {Published::kFirst, Published::kSecond, kIndex})
        std::filesystem::remove(dir / name);
      write_file(dir / file, "of another kind");
    };
  };
  return {
      {"GPTQ by its config",
       kUnsupported,
       {"config.json", "'quantization_config'", "GPTQ, 4 bits", "BF16"},
       quantized({{"quant_method", "gptq"}, {"bits", 4}}),
       nullptr},
      {"AWQ by its config",
       kUnsupported,
       {"config.json", "AWQ, 4 bits"},
       quantized({{"quant_method", "awq"}, {"bits", 4}}),
       nullptr},
      {"FP8 by its config",
       kUnsupported,
       {"config.json", "(FP8)"},
       quantized({{"quant_method", "fp8"}, {"weight_block_size", {128, 128}}}),
       nullptr},
      {"compressed-tensors by its config",
       kUnsupported,
       {"config.json", "compressed-tensors, float-quantized"},
       quantized({{"quant_method", "compressed-tensors"}, {"format", "float-quantized"}}),
       nullptr},
      {"bitsandbytes by its config",
       kUnsupported,
       {"config.json", "bitsandbytes, 4 bits"},
       quantized({{"quant_method", "bitsandbytes"}, {"load_in_4bit", true}}),
       nullptr},
      {"a method of tomorrow",
       kUnsupported,
       {"config.json", "(newquant)"},
       quantized({{"quant_method", "newquant"}}),
       nullptr},
      {"MLX by its config",
       kUnsupported,
       {"config.json", "MLX, 8 bits"},
       set("quantization", {{"group_size", 64}, {"bits", 8}}),
       nullptr},
      {"GPTQ by its tensors",
       kUnsupported,
       {Published::kSecond, "'model.layers.0.mlp.up_proj.qweight' I32", "GPTQ or AWQ", "BF16"},
       [](Published& p) { add_tensor(p, "model.layers.0.mlp.up_proj.qweight", "I32", 64); },
       nullptr},
      {"FP8 in blocks by its scales",
       kUnsupported,
       {Published::kSecond, "weight_scale_inv'", "FP8 in blocks"},
       [](Published& p) { add_tensor(p, "model.x.weight_scale_inv", "F8_E8M0", 4); },
       nullptr},
      {"FP8 by its dtype",
       kUnsupported,
       {Published::kFirst, kQuery, "F8_E4M3", "(FP8)"},
       retyped("F8_E4M3"),
       nullptr},
      {"INT8 by its dtype",
       kUnsupported,
       {Published::kFirst, kQuery, "I8", "(INT8)"},
       retyped("I8"),
       nullptr},
      {"packed bytes by their dtype",
       kUnsupported,
       {Published::kFirst, kQuery, "U8"},
       retyped("U8"),
       nullptr},
      {"GGUF alone",
       kUnsupported,
       {"model-Q8_0.gguf", "GGUF", "safetensors"},
       nullptr,
       only("model-Q8_0.gguf")},
      {"pickles alone",
       kUnsupported,
       {"pytorch_model.bin", "pickle", "convert"},
       nullptr,
       only("pytorch_model.bin")},
      {"a .pth alone",
       kUnsupported,
       {"consolidated.00.pth", "pickle", "convert"},
       nullptr,
       only("consolidated.00.pth")},
      {"no weights", kFormat, {"no *.safetensors", "download"}, nullptr, only("README.md")},
      {"an adapter without its base",
       DIFFULEX_E_IO,
       {"config.json", "LoRA", "merge"},
       nullptr,
       [](const TempDir& dir) {
         std::filesystem::rename(dir / kConfig, dir / "adapter_config.json");
       }},
  };
}

std::vector<Fault> text_faults() {
  return {
      {"mask token absent",
       kFormat,
       {"config.json", "'mask_token_id' is missing", "mask token"},
       [](Published& p) { p.tokenizer_config.erase("mask_token"); },
       nullptr},
      {"tokenizer.json and vocab.json missing, merges.txt left",
       DIFFULEX_E_IO,
       {"tokenizer.json"},
       nullptr,
       [](const TempDir& dir) {
         std::filesystem::remove(dir / "tokenizer.json");
         write_file(dir / "merges.txt", "a b\n");
         write_file(dir / "added_tokens.json", R"({"<|MASK|>": 5})");
       }},
      {"tokenizer cut",
       kTokenizer,
       {"tokenizer.json", "not valid JSON"},
       nullptr,
       replace("tokenizer.json", R"({"model": )")},
      {"tokenizer of another kind",
       kTokenizer,
       {"tokenizer.json", "WordPiece"},
       [](Published& p) { p.tokenizer["model"]["type"] = "WordPiece"; },
       nullptr},
      {"merge of an unknown token",
       kTokenizer,
       {"tokenizer.json", "merge"},
       [](Published& p) { p.tokenizer["model"]["merges"] = {"a zzz"}; },
       nullptr},
      {"merge that is none",
       kTokenizer,
       {"tokenizer.json", "merges[0]"},
       [](Published& p) { p.tokenizer["model"]["merges"] = {"a"}; },
       nullptr},
      {"two tokens of one id",
       kTokenizer,
       {"tokenizer.json", "id 97"},
       [](Published& p) { p.tokenizer["model"]["vocab"]["b"] = 97; },
       nullptr},
      {"tokenizer larger than the vocabulary",
       kTokenizer,
       {"vocab_size", "264", "300"},
       [](Published& p) {
         p.tokenizer["added_tokens"].push_back({{"id", 300}, {"content", "<extra>"}});
       },
       nullptr},
      {"tokenizer config cut",
       kTokenizer,
       {"tokenizer_config.json", "not valid JSON"},
       nullptr,
       replace("tokenizer_config.json", "{\"mask_token\": \"<|MASK|>\"")},
      {"chat template cut",
       kTokenizer,
       {"chat_template.jinja", "line 2"},
       [](Published& p) { p.chat_template = "{{ messages }}\n{% for m in messages %}"; },
       nullptr},
      {"chat template with a filter that is none",
       DIFFULEX_E_UNSUPPORTED,
       {"chat_template.jinja", "sparkle"},
       [](Published& p) { p.chat_template = "{{ messages[0].content | sparkle }}"; },
       nullptr},
  };
}

}  // namespace diffulex_tests::errors
