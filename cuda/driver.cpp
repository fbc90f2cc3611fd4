#include "cuda/driver.h"

#include <dlfcn.h>

namespace diffulex::cuda {

void* driver_function(const char* name) {
  static void* const library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);  // stays open
  return library != nullptr ? dlsym(library, name) : nullptr;
}

}  // namespace diffulex::cuda
