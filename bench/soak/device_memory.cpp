#include "device_memory.h"

#include <dlfcn.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <stdexcept>

namespace diffulex_soak {

// The functions of libcuda that are needed, opened by hand: the benchmark links no CUDA.
struct DeviceMemory::Driver {
  using Context = void*;
  int (*init)(unsigned) = nullptr;
  int (*get_device)(int*, int) = nullptr;
  int (*retain)(Context*, int) = nullptr;
  int (*release)(int) = nullptr;
  int (*push)(Context) = nullptr;
  int (*pop)(Context*) = nullptr;
  int (*info)(size_t*, size_t*) = nullptr;
  int device = 0;
  Context context = nullptr;

  template <class Function>
  static void find(void* library, Function* function, const char* name) {
    *function = reinterpret_cast<Function>(dlsym(library, name));
    if (*function == nullptr) throw std::runtime_error(std::string("libcuda lacks ") + name);
  }
  explicit Driver(int index) {
    void* const library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) throw std::runtime_error(dlerror());
    find(library, &init, "cuInit");
    find(library, &get_device, "cuDeviceGet");
    find(library, &retain, "cuDevicePrimaryCtxRetain");
    find(library, &release, "cuDevicePrimaryCtxRelease_v2");
    find(library, &push, "cuCtxPushCurrent_v2");
    find(library, &pop, "cuCtxPopCurrent_v2");
    find(library, &info, "cuMemGetInfo_v2");
    if (init(0) != 0 || get_device(&device, index) != 0 || retain(&context, device) != 0)
      throw std::runtime_error("the driver does not give the device");
  }
};

DeviceMemory::DeviceMemory(const std::string& device) {
  if (device.rfind("cuda:", 0) != 0) return;
  driver_ = new Driver(std::atoi(device.c_str() + 5));
}

DeviceMemory::~DeviceMemory() {
  if (driver_ == nullptr) return;
  (void)driver_->release(driver_->device);
  delete driver_;
}

std::optional<uint64_t> DeviceMemory::used() const {
  if (driver_ == nullptr || driver_->push(driver_->context) != 0) return std::nullopt;
  size_t free = 0, total = 0;
  const int status = driver_->info(&free, &total);
  Driver::Context popped = nullptr;
  (void)driver_->pop(&popped);
  return status == 0 ? std::optional<uint64_t>(total - free) : std::nullopt;
}

uint64_t resident_bytes() {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen("/proc/self/statm", "r"),
                                                             &std::fclose);
  unsigned long long total = 0, resident = 0;
  if (file == nullptr || std::fscanf(file.get(), "%llu %llu", &total, &resident) != 2) return 0;
  return resident * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
}

}  // namespace diffulex_soak
