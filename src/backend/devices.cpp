#include "backend/devices.h"

#include <string_view>

#include "base/error.h"
#include "base/system.h"
#if defined(DIFFULEX_WITH_CUDA)
#include "cuda/cuda_backend.h"
#endif

namespace diffulex {
namespace {

constexpr std::string_view kCuda = "cuda";

Device cpu_device() {
  Device device;
  device.selector = "cpu";
  device.name = processor_name();
  device.memory_total = memory_total_bytes();
  device.memory_free = memory_available_bytes();
  return device;
}

void add_cuda(std::vector<Device>& list) {
#if defined(DIFFULEX_WITH_CUDA)
  std::string why;
  const std::vector<cuda::DeviceFacts> found = cuda::devices(&why);
  for (size_t i = 0; i < found.size(); ++i) {
    const cuda::DeviceFacts& f = found[i];
    list.push_back({"cuda:" + std::to_string(i), f.id, f.name, f.reason, f.memory_total, 0, f.major,
                    f.minor, static_cast<int>(i)});
  }
  if (!found.empty()) return;
  Device none;
  none.selector = kCuda;
  none.name = "CUDA";
  none.reason = why;
  list.push_back(std::move(none));
#else
  (void)list;
#endif
}

std::vector<Device> list_devices() {
  std::vector<Device> list = {cpu_device()};
  add_cuda(list);
  return list;
}

bool names(std::string_view selector, const Device& device) {
  if (selector == device.selector) return true;
  if (!is_cuda(device)) return false;
  const std::string_view rest =
      selector.starts_with("cuda:") ? selector.substr(kCuda.size() + 1) : "";
  return (selector == kCuda && device.index == 0) || (!device.id.empty() && rest == device.id);
}

}  // namespace

bool is_cuda(const Device& device) { return device.selector.starts_with(kCuda); }

const std::vector<Device>& devices() {
  static const std::vector<Device> list = list_devices();
  return list;
}

const Device& find_device(const char* selector) {
  const std::string_view wanted = selector != nullptr ? selector : "cpu";
  std::string known;
  for (const Device& device : devices()) {
    if (names(wanted, device) && device.reason.empty()) return device;
    if (names(wanted, device))
      throw Error(DIFFULEX_E_DEVICE_UNAVAILABLE,
                  "device '" + std::string(wanted) + "' is not usable: " + device.reason)
          .with("device", std::string(wanted));
    if (device.reason.empty()) known.append(known.empty() ? "" : ", ").append(device.selector);
  }
  throw Error(DIFFULEX_E_DEVICE_UNAVAILABLE,
              "device '" + std::string(wanted) + "' is not available; this build runs on: " + known)
      .with("device", std::string(wanted))
      .with("allowed", known);
}

DType best_weight_dtype(const Device& device) {
  return is_cuda(device) ? DType::kBF16 : cpu::best_weight_dtype();
}

void check_int8_weights(const Device& device) {
  if (is_cuda(device))
    throw Error(DIFFULEX_E_UNSUPPORTED,
                "weight_dtype I8 is for the CPU; the engine is on '" + device.selector + "'")
        .with("option", "weight_dtype");
}

uint64_t available_bytes(const Device& device) {
#if defined(DIFFULEX_WITH_CUDA)
  if (is_cuda(device)) return cuda::free_memory(device.index);
#endif
  (void)device;
  return memory_available_bytes();
}

MemoryPlan plan_memory(const Device& device, const ArchSpec& arch, const BackendConfig& config) {
#if defined(DIFFULEX_WITH_CUDA)
  if (is_cuda(device)) return cuda::plan_memory(arch, config);
#endif
  (void)device;
  return cpu::plan_memory(arch, config);
}

MakeBackend backend_of(const Device& device) {
#if defined(DIFFULEX_WITH_CUDA)
  if (is_cuda(device)) return cuda::create;
#endif
  (void)device;
  return cpu::create;
}

diffulex_status out_of_memory(const Device& device) {
  return is_cuda(device) ? DIFFULEX_E_DEVICE_MEMORY : DIFFULEX_E_HOST_MEMORY;
}

}  // namespace diffulex
