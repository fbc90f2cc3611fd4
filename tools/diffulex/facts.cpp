#include "facts.h"

#include <cmath>
#include <filesystem>
#include <fstream>

namespace diffulex_command {
namespace {

template <class Get>
Facts options_of(const Get& get) {
  Facts list = Facts::array();
  diffulex_option_info info{};
  info.struct_size = sizeof(info);
  for (size_t i = 0; get(i, &info) == DIFFULEX_OK; ++i) {
    constexpr const char* kTypes[] = {"bool", "int", "float", "string"};
    list.push_back({{"key", info.key},
                    {"type", info.type >= 0 && info.type < 4 ? kTypes[info.type] : "?"},
                    {"default", info.default_value},
                    {"allowed", info.allowed},
                    {"summary", info.summary}});
  }
  return list;
}

uint64_t weight_file_bytes(const std::filesystem::path& dir) {
  uint64_t bytes = 0;
  for (const auto& entry : std::filesystem::directory_iterator(dir))
    if (entry.path().extension() == ".safetensors") bytes += entry.file_size();
  return bytes;
}

Facts requirements_of(const char* strategy) {
  Facts list = Facts::array();
  diffulex_requirement info{};
  info.struct_size = sizeof(info);
  for (size_t i = 0; diffulex_strategy_requirement(strategy, i, &info, nullptr) == DIFFULEX_OK; ++i)
    list.push_back({{"option", info.option}, {"value", info.value}, {"reason", info.reason}});
  return list;
}

// As it was written: 0.95, not what is left of it in a float.
double decimal(float x) { return std::round(double{x} * 1e6) / 1e6; }

}  // namespace

Facts build_facts() { return Facts::parse(diffulex_build_info()); }

Facts device_facts() {
  Facts out = Facts::array();
  for (size_t i = 0; i < diffulex_device_count(); ++i) {
    diffulex_device_info info{};
    info.struct_size = sizeof(info);
    diffulex_error* error = nullptr;
    check(diffulex_device_get(i, &info, &error), error);
    out.push_back({{"selector", info.selector},
                   {"name", info.name},
                   {"usable", info.usable != 0},
                   {"reason", info.reason},
                   {"memory_total_bytes", info.memory_total},
                   {"memory_free_bytes", info.memory_free}});
  }
  return out;
}

Facts engine_option_facts() {
  return options_of([](size_t i, diffulex_option_info* info) {
    return diffulex_engine_option(i, info, nullptr);
  });
}

Facts strategy_facts() {
  Facts out = Facts::array();
  for (size_t i = 0; const char* name = diffulex_strategy_name(i); ++i)
    out.push_back({{"name", name},
                   {"summary", diffulex_strategy_summary(name)},
                   {"requires", requirements_of(name)},
                   {"options", options_of([name](size_t k, diffulex_option_info* info) {
                      return diffulex_strategy_option(name, k, info, nullptr);
                    })}});
  return out;
}

// From config.json itself: the library tells what it runs with only once the weights are loaded.
Facts checkpoint_facts(const std::string& model_dir) {
  const std::filesystem::path dir(model_dir);
  std::ifstream in(dir / "config.json", std::ios::binary);
  const Facts config = Facts::parse(in, nullptr, false);
  if (!config.is_object()) throw Failure((dir / "config.json").string() + ": cannot be read");
  Facts out;
  for (const char* key :
       {"architectures", "model_type", "torch_dtype", "vocab_size", "num_hidden_layers",
        "hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads",
        "head_dim", "num_experts", "num_experts_per_tok", "max_position_embeddings", "block_size",
        "mask_token_id", "eos_token_id"})
    if (config.contains(key) && !config[key].is_null()) out[key] = config[key];
  out["weight_file_bytes"] = weight_file_bytes(dir);
  return out;
}

Facts plan_facts(const EngineOptions& options) {
  const Config config(options);
  diffulex_plan plan{};
  plan.struct_size = sizeof(plan);
  diffulex_error* error = nullptr;
  check(diffulex_engine_plan(&config.config, &plan, &error), error);
  return {{"family", plan.family},
          {"strategy", plan.strategy},
          {"block_size", plan.block_size},
          {"buffer_blocks", plan.buffer_blocks},
          {"weight_bytes", plan.weight_bytes},
          {"kv_bytes", plan.kv_bytes},
          {"workspace_bytes", plan.workspace_bytes},
          {"total_bytes", plan.total_bytes},
          {"available_bytes", plan.available_bytes},
          {"shortfall_bytes", plan.shortfall_bytes},
          {"kv_pages", plan.kv_pages},
          {"max_model_len", plan.max_model_len},
          {"max_cached_tokens", plan.max_cached_tokens}};
}

Facts engine_facts(const EngineOptions& options) {
  constexpr const char* kDtypes[] = {"auto", "f32", "?", "bf16", "i8", "?", "?", "?"};
  const Session session(options);
  const diffulex_engine_info info = session.engine_info();
  return {{"architecture", info.architecture},
          {"family", info.family},
          {"strategy", info.strategy},
          {"device", info.device},
          {"kernels", info.kernels},
          {"weight_dtype", kDtypes[info.weight_dtype & 7]},
          {"kv_dtype", kDtypes[info.kv_dtype & 7]},
          {"vocab_size", info.vocab_size},
          {"eos_token", info.eos_token},
          {"mask_token", info.mask_token},
          {"bos_token", info.bos_token},
          {"pad_token", info.pad_token},
          {"shifted", info.shifted != 0},
          {"accept_threshold", decimal(info.accept_threshold)},
          {"add_block_threshold", decimal(info.add_block_threshold)},
          {"semi_complete_threshold", decimal(info.semi_complete_threshold)},
          {"token_stability_threshold", decimal(info.token_stability_threshold)},
          {"block_size", info.block_size},
          {"buffer_blocks", info.buffer_blocks},
          {"page_size", info.page_size},
          {"kv_pages", info.kv_pages},
          {"max_model_len", info.max_model_len},
          {"max_requests", info.max_requests},
          {"max_batched_tokens", info.max_batched_tokens},
          {"cpu_threads", info.cpu_threads},
          {"weight_bytes", info.weight_bytes},
          {"kv_bytes", info.kv_bytes}};
}

}  // namespace diffulex_command
