// Library facts, devices and self-describing options.
#include <cstring>
#include <iterator>
#include <string>

#include "api/guard.h"
#include "backend/devices.h"
#include "base/log.h"
#include "base/system.h"
#include "engine/engine_config.h"
#include "strategy/strategy.h"

namespace {

using diffulex::Error;
using diffulex::OptionSpec;

#if defined(DIFFULEX_WITH_CUDA)
#define DIFFULEX_CUDA_DEVICE ",\"cuda\""
constexpr const char* kFeatures[] = {"cpu", "cuda", "prefix_cache", "multi_bd", "d2f"};
#else
#define DIFFULEX_CUDA_DEVICE ""
constexpr const char* kFeatures[] = {"cpu", "prefix_cache", "multi_bd", "d2f"};
#endif

constexpr struct {
  diffulex_status status;
  const char* name;
} kStatusNames[] = {
    {DIFFULEX_OK, "DIFFULEX_OK"},
    {DIFFULEX_S_TIMEOUT, "DIFFULEX_S_TIMEOUT"},
    {DIFFULEX_S_IDLE, "DIFFULEX_S_IDLE"},
    {DIFFULEX_S_END, "DIFFULEX_S_END"},
    {DIFFULEX_E_INTERNAL, "DIFFULEX_E_INTERNAL"},
    {DIFFULEX_E_INVALID_ARGUMENT, "DIFFULEX_E_INVALID_ARGUMENT"},
    {DIFFULEX_E_UNKNOWN_OPTION, "DIFFULEX_E_UNKNOWN_OPTION"},
    {DIFFULEX_E_INVALID_STATE, "DIFFULEX_E_INVALID_STATE"},
    {DIFFULEX_E_NOT_FOUND, "DIFFULEX_E_NOT_FOUND"},
    {DIFFULEX_E_BUFFER_TOO_SMALL, "DIFFULEX_E_BUFFER_TOO_SMALL"},
    {DIFFULEX_E_HOST_MEMORY, "DIFFULEX_E_HOST_MEMORY"},
    {DIFFULEX_E_DEVICE_MEMORY, "DIFFULEX_E_DEVICE_MEMORY"},
    {DIFFULEX_E_DEVICE_UNAVAILABLE, "DIFFULEX_E_DEVICE_UNAVAILABLE"},
    {DIFFULEX_E_DEVICE_FAULT, "DIFFULEX_E_DEVICE_FAULT"},
    {DIFFULEX_E_IO, "DIFFULEX_E_IO"},
    {DIFFULEX_E_MODEL_FORMAT, "DIFFULEX_E_MODEL_FORMAT"},
    {DIFFULEX_E_MODEL_UNSUPPORTED, "DIFFULEX_E_MODEL_UNSUPPORTED"},
    {DIFFULEX_E_STRATEGY_UNSUPPORTED, "DIFFULEX_E_STRATEGY_UNSUPPORTED"},
    {DIFFULEX_E_TOKENIZER, "DIFFULEX_E_TOKENIZER"},
    {DIFFULEX_E_CANCELLED, "DIFFULEX_E_CANCELLED"},
    {DIFFULEX_E_QUEUE_FULL, "DIFFULEX_E_QUEUE_FULL"},
    {DIFFULEX_E_CONTEXT_LENGTH, "DIFFULEX_E_CONTEXT_LENGTH"},
    {DIFFULEX_E_UNSUPPORTED, "DIFFULEX_E_UNSUPPORTED"},
    {DIFFULEX_E_ABI_MISMATCH, "DIFFULEX_E_ABI_MISMATCH"},
    {DIFFULEX_E_CALLBACK, "DIFFULEX_E_CALLBACK"},
    {DIFFULEX_E_PEER, "DIFFULEX_E_PEER"},
};

[[noreturn]] void no_such_index(size_t index, size_t count, const char* what) {
  throw Error(DIFFULEX_E_NOT_FOUND, "index " + std::to_string(index) + " is behind the last of " +
                                        std::to_string(count) + " " + what)
      .with("option", "index");
}

diffulex_status give_option(std::span<const OptionSpec> specs, size_t index,
                            diffulex_option_info* out) {
  if (index >= specs.size()) no_such_index(index, specs.size(), "options");
  const OptionSpec& spec = specs[index];
  diffulex_option_info info{};
  info.type = static_cast<int32_t>(spec.type);
  info.key = spec.key;
  info.default_value = spec.default_value;
  info.allowed = spec.allowed;
  info.summary = spec.summary;
  diffulex::api::write_struct(out, info, "out");
  return DIFFULEX_OK;
}

const diffulex::Strategy* strategy_or_null(const char* name) {
  for (const diffulex::Strategy* strategy : diffulex::strategies())
    if (name != nullptr && strategy->name == name) return strategy;
  return nullptr;
}

}  // namespace

extern "C" {

uint32_t diffulex_version(void) {
  return DIFFULEX_VERSION_MAJOR * 10000 + DIFFULEX_VERSION_MINOR * 100 + DIFFULEX_VERSION_PATCH;
}

const char* diffulex_version_string(void) { return "0.1.0"; }

uint32_t diffulex_abi_version(void) { return DIFFULEX_ABI_VERSION; }

const char* diffulex_build_info(void) {
  return "{\"version\":\"0.1.0\",\"compiler\":\"" __VERSION__
         "\",\"build\":\""
#ifdef NDEBUG
         "release"
#else
         "debug"
#endif
         "\",\"devices\":[\"cpu\"" DIFFULEX_CUDA_DEVICE
         "],\"cpu_matmul\":\"oneDNN\",\"cpu_simd\":\"Highway\"}";
}

int32_t diffulex_has_feature(const char* name) {
  for (const char* feature : kFeatures)
    if (name != nullptr && std::strcmp(name, feature) == 0) return 1;
  return 0;
}

const char* diffulex_feature_name(size_t index) {
  return index < std::size(kFeatures) ? kFeatures[index] : nullptr;
}

const char* diffulex_status_name(diffulex_status status) {
  for (const auto& entry : kStatusNames)
    if (entry.status == status) return entry.name;
  return "DIFFULEX_UNKNOWN";
}

void diffulex_set_log(diffulex_log_fn fn, void* user_data, diffulex_log_level level) {
  (void)diffulex::api::guard(nullptr, [&] {
    diffulex::set_process_log(diffulex::Log(fn, user_data, level));
    return DIFFULEX_OK;
  });
}

size_t diffulex_device_count(void) {
  size_t count = 0;
  (void)diffulex::api::guard(nullptr, [&] {
    count = diffulex::devices().size();
    return DIFFULEX_OK;
  });
  return count;
}

diffulex_status diffulex_device_get(size_t index, diffulex_device_info* out,
                                    diffulex_error** error) {
  return diffulex::api::guard(error, [&] {
    const auto& all = diffulex::devices();
    if (index >= all.size()) no_such_index(index, all.size(), "devices");
    const diffulex::Device& device = all[index];
    diffulex_device_info info{};
    info.usable = device.reason.empty() ? 1 : 0;
    info.selector = device.selector.c_str();
    info.id = device.id.c_str();
    info.name = device.name.c_str();
    info.reason = device.reason.c_str();
    info.memory_total = device.memory_total;
    info.memory_free = device.index == 0 && device.selector == "cpu"
                           ? diffulex::memory_available_bytes()
                           : device.memory_free;
    info.compute_major = device.compute_major;
    info.compute_minor = device.compute_minor;
    diffulex::api::write_struct(out, info, "out");
    return DIFFULEX_OK;
  });
}

const char* diffulex_strategy_name(size_t index) {
  const auto all = diffulex::strategies();
  return index < all.size() ? all[index]->name.data() : nullptr;
}

const char* diffulex_strategy_summary(const char* strategy) {
  const diffulex::Strategy* found = strategy_or_null(strategy);
  return found != nullptr ? found->summary.data() : nullptr;
}

diffulex_status diffulex_strategy_option(const char* strategy, size_t index,
                                         diffulex_option_info* out, diffulex_error** error) {
  return diffulex::api::guard(error, [&] {
    diffulex::api::required(strategy, "strategy");
    return give_option(diffulex::find_strategy(strategy).options, index, out);
  });
}

diffulex_status diffulex_strategy_requirement(const char* strategy, size_t index,
                                              diffulex_requirement* out, diffulex_error** error) {
  return diffulex::api::guard(error, [&] {
    diffulex::api::required(strategy, "strategy");
    const auto all = diffulex::find_strategy(strategy).requirements;
    if (index >= all.size()) no_such_index(index, all.size(), "requirements");
    diffulex_requirement requirement{};
    requirement.option = all[index].option;
    requirement.value = all[index].value;
    requirement.reason = all[index].reason;
    diffulex::api::write_struct(out, requirement, "out");
    return DIFFULEX_OK;
  });
}

diffulex_status diffulex_engine_option(size_t index, diffulex_option_info* out,
                                       diffulex_error** error) {
  return diffulex::api::guard(error,
                              [&] { return give_option(diffulex::engine_options(), index, out); });
}

}  // extern "C"
