// The CUDA backend: runs step plans on one device. Nothing here creates a context before create().
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "backend/backend.h"

namespace diffulex::cuda {

struct DeviceFacts {
  std::string name;           // e.g. "NVIDIA H100 80GB HBM3"
  std::string id;             // "GPU-..." as the driver's tools print it
  std::string reason;         // why it is not usable; empty when it is
  uint64_t memory_total = 0;  // bytes
  int major = 0, minor = 0;   // compute capability
};

// Devices that the driver knows. *why: the reason when there is none.
std::vector<DeviceFacts> devices(std::string* why);
// Bytes free on a device now. Creates its context.
uint64_t free_memory(int device);

MemoryPlan plan_memory(const ArchSpec& arch, const BackendConfig& config);
// Throws Error: DEVICE_MEMORY, DEVICE_UNAVAILABLE, UNSUPPORTED, CANCELLED, DEVICE_FAULT.
std::unique_ptr<Backend> create(const ArchSpec& arch, const ModelWeights& weights,
                                const BackendConfig& config, const LoadProgress& progress);

}  // namespace diffulex::cuda
