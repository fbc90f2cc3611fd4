#include "model/quantization.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <nlohmann/json.hpp>

namespace diffulex {
namespace {

using nlohmann::json;

struct NamedFormat {
  std::string_view key;
  std::string_view name;
};

// Values of quant_method.
constexpr std::array<NamedFormat, 15> kMethods = {{
    {"gptq", "GPTQ"},
    {"awq", "AWQ"},
    {"fp8", "FP8"},
    {"fbgemm_fp8", "FP8 (FBGEMM)"},
    {"compressed-tensors", "compressed-tensors"},
    {"bitsandbytes", "bitsandbytes"},
    {"hqq", "HQQ"},
    {"modelopt", "ModelOpt"},
    {"quanto", "quanto"},
    {"torchao", "torchao"},
    {"aqlm", "AQLM"},
    {"eetq", "EETQ"},
    {"mxfp4", "MXFP4"},
    {"auto-round", "AutoRound"},
    {"quark", "Quark"},
}};

// Ends of tensor names, most telling first.
constexpr std::array<NamedFormat, 19> kSuffixes = {{
    {".weight_scale_inv", "FP8 in blocks"},
    {".weight_packed", "compressed-tensors, packed"},
    {".weight_global_scale", "NVFP4"},
    {".weight_scale_2", "NVFP4"},
    {".weight_scale", "FP8 or INT8 with scales"},
    {".weight_zero_point", "compressed-tensors"},
    {".input_scale", "FP8 or INT8 with scales"},
    {".g_idx", "GPTQ"},
    {".qweight", "GPTQ or AWQ"},
    {".qzeros", "GPTQ or AWQ"},
    {".scales", "GPTQ, AWQ or MLX"},
    {".SCB", "bitsandbytes, 8 bits"},
    {".absmax", "bitsandbytes, 4 bits"},
    {".quant_map", "bitsandbytes, 4 bits"},
    {".nested_absmax", "bitsandbytes, 4 bits"},
    {".nested_quant_map", "bitsandbytes, 4 bits"},
    {".quant_state.bitsandbytes__nf4", "bitsandbytes, 4 bits"},
    {".quant_state.bitsandbytes__fp4", "bitsandbytes, 4 bits"},
    {".W_q", "HQQ"},
}};

constexpr std::array<NamedFormat, 8> kDtypes = {{
    {"F8_E4M3", "FP8"},
    {"F8_E5M2", "FP8"},
    {"F8_E8M0", "FP8 scales"},
    {"I8", "INT8"},
    {"U8", "packed bytes"},
    {"F4", "FP4"},
    {"F6_E2M3", "FP6"},
    {"F6_E3M2", "FP6"},
}};

template <size_t N>
std::string_view look_up(const std::array<NamedFormat, N>& table, std::string_view key) {
  const auto found = std::find_if(table.begin(), table.end(),
                                  [&](const NamedFormat& format) { return format.key == key; });
  return found == table.end() ? std::string_view() : found->name;
}

std::string lower(std::string text) {
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

std::string text_of(const json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

bool is_set(const json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_boolean() && found->get<bool>();
}

// "", or ", 4 bits".
std::string bits_of(const json& settings) {
  for (const char* key : {"bits", "w_bit", "nbits"}) {
    const auto found = settings.find(key);
    if (found != settings.end() && found->is_number_unsigned()) {
      return ", " + std::to_string(found->get<uint64_t>()) + " bits";
    }
  }
  if (is_set(settings, "load_in_4bit")) return ", 4 bits";
  return is_set(settings, "load_in_8bit") ? ", 8 bits" : "";
}

std::string describe(const json& settings) {
  std::string method = text_of(settings, "quant_method");
  if (method.empty()) method = text_of(settings, "quant_algo");
  const std::string_view known = look_up(kMethods, lower(method));
  if (!known.empty()) method = known;
  if (method.empty()) method = "an unnamed format";
  const std::string format = text_of(settings, "format");  // of compressed-tensors
  return method + (format.empty() ? "" : ", " + format) + bits_of(settings);
}

}  // namespace

std::string quantization_of(const json& config) {
  for (const char* key : {"quantization_config", "compression_config", "quantization"}) {
    const auto settings = config.find(key);
    if (settings == config.end() || settings->is_null()) continue;
    if (settings->is_object() && !settings->empty()) {
      const bool mlx = std::string_view(key) == "quantization" && settings->contains("group_size");
      return mlx ? "MLX" + bits_of(*settings) : describe(*settings);
    }
    if (!settings->is_structured()) return "an unnamed format";
  }
  return {};
}

std::string_view quantization_of(std::string_view tensor, std::string_view dtype) {
  for (const NamedFormat& suffix : kSuffixes)
    if (tensor.ends_with(suffix.key)) return suffix.name;
  return look_up(kDtypes, dtype);
}

std::string quantization_advice(std::string_view format) {
  return "the weights are quantized (" + std::string(format) +
         "), which is not supported; use the BF16, F16 or F32 checkpoint that they were made from";
}

}  // namespace diffulex
