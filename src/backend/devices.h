// The devices of this build, and the backend of the one that was asked for.
#pragma once

#include <string>
#include <vector>

#include "backend/backend.h"

namespace diffulex {

using MakeBackend = std::unique_ptr<Backend> (*)(const ArchSpec& arch, const ModelWeights& weights,
                                                 const BackendConfig& config,
                                                 const LoadProgress& progress);

struct Device {
  std::string selector;  // "cpu", "cuda:0"
  std::string id;        // of the hardware, "" where it has none
  std::string name;
  std::string reason;         // why it is not usable; empty when it is
  uint64_t memory_total = 0;  // bytes
  uint64_t memory_free = 0;   // bytes; 0: not known without using the device
  int compute_major = 0, compute_minor = 0;
  int index = 0;  // of its kind
};

// Every device that this build knows of, usable or not; the CPU first. Creates no device context.
// A kind that has none is listed once, with the reason.
const std::vector<Device>& devices();

// "cpu", "cuda", "cuda:1", "cuda:GPU-..."; null: the CPU. Throws
// Error(DIFFULEX_E_DEVICE_UNAVAILABLE) naming it and why.
const Device& find_device(const char* selector);

bool is_cuda(const Device& device);

// What the backend of a device says.
DType best_weight_dtype(const Device& device);
// Throws Error(DIFFULEX_E_UNSUPPORTED) where weights cannot be int8.
void check_int8_weights(const Device& device);
uint64_t available_bytes(const Device& device);  // for a new allocation, now
MemoryPlan plan_memory(const Device& device, const ArchSpec& arch, const BackendConfig& config);
MakeBackend backend_of(const Device& device);
diffulex_status out_of_memory(const Device& device);  // DIFFULEX_E_HOST_MEMORY or _DEVICE_MEMORY

}  // namespace diffulex
