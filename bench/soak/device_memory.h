// How much memory of a CUDA device is in use, asked of the driver itself.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace diffulex_soak {

// Thread class: one thread. Holds the device's primary context, which an engine there has too.
class DeviceMemory {
 public:
  // device: as diffulex_engine_info spells it, "cpu" or "cuda:0".
  explicit DeviceMemory(const std::string& device);
  ~DeviceMemory();
  DeviceMemory(const DeviceMemory&) = delete;
  DeviceMemory& operator=(const DeviceMemory&) = delete;

  // Bytes, of every process on the device; none on the CPU.
  std::optional<uint64_t> used() const;

 private:
  struct Driver;
  Driver* driver_ = nullptr;  // null: no device to ask
};

// Resident memory of this process, bytes.
uint64_t resident_bytes();

}  // namespace diffulex_soak
