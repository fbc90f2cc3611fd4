// What the library does to a program that uses CUDA itself: contexts, the current device, memory.
// Sees what a user sees: the public header and a CUDA runtime of its own.
#include <cuda.h>
#include <cuda_runtime_api.h>
#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "diffulex.h"

namespace {

int failures = 0;

void expect(bool holds, const std::string& what) {
  std::printf("%s %s\n", holds ? "ok    " : "FAILED", what.c_str());
  failures += holds ? 0 : 1;
}

// Not through the runtime, which makes a context when it is asked.
template <class Function>
Function driver(const char* name) {
  static void* const library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  void* const found = library != nullptr ? dlsym(library, name) : nullptr;
  if (found == nullptr) {
    std::fprintf(stderr, "the driver has no %s\n", name);
    std::exit(2);
  }
  return reinterpret_cast<Function>(found);
}

CUcontext current_context() {
  CUcontext context = nullptr;
  (void)driver<decltype(&cuCtxGetCurrent)>("cuCtxGetCurrent")(&context);
  return context;
}

bool has_primary_context(int ordinal) {
  CUdevice device = 0;
  unsigned flags = 0;
  int active = 0;
  (void)driver<decltype(&cuDeviceGet)>("cuDeviceGet")(&device, ordinal);
  (void)driver<decltype(&cuDevicePrimaryCtxGetState)>("cuDevicePrimaryCtxGetState")(device, &flags,
                                                                                    &active);
  return active != 0;
}

struct Made {
  diffulex_status status = DIFFULEX_OK;
  std::string needed, free;
  std::vector<diffulex_token> tokens;
};

// An engine from creation to destruction; `between` is called while it lives.
Made live(const std::string& model, const char* device, const std::function<void()>& between = {}) {
  Made made;
  diffulex_engine_config config;
  diffulex_engine_config_init(&config, sizeof(config));
  config.model_dir = model.c_str();
  config.devices = device;
  const diffulex_kv option{"device_steps", "4"};
  config.engine_options = &option;
  config.engine_option_count = 1;
  diffulex_engine* engine = nullptr;
  diffulex_error* error = nullptr;
  made.status = diffulex_engine_create(&config, &engine, &error);
  if (made.status != DIFFULEX_OK) {
    const char* text = diffulex_error_detail(error, "bytes_needed");
    made.needed = text != nullptr ? text : "";
    text = diffulex_error_detail(error, "bytes_free");
    made.free = text != nullptr ? text : "";
    diffulex_error_free(error);
    return made;
  }
  if (between) between();
  const std::vector<diffulex_token> prompt = {5, 6, 7, 8, 9};
  diffulex_request_params params;
  diffulex_request_params_init(&params, sizeof(params));
  params.max_tokens = 24;
  params.flags = DIFFULEX_REQUEST_IGNORE_EOS;
  diffulex_request_id id = 0;
  made.status =
      diffulex_request_submit(engine, prompt.data(), prompt.size(), &params, &id, nullptr);
  while (made.status == DIFFULEX_OK &&
         diffulex_engine_step(engine, nullptr) == DIFFULEX_OK) {  // until it is idle
  }
  if (between) between();
  made.tokens.resize(24);
  size_t count = 0;
  if (diffulex_request_read_tokens(engine, id, 0, made.tokens.data(), made.tokens.size(), &count,
                                   nullptr) < 0)
    count = 0;
  made.tokens.resize(count);
  diffulex_engine_destroy(engine);
  return made;
}

void test_listing(int devices) {
  (void)diffulex_device_count();
  bool any = false;
  for (int i = 0; i < devices; ++i) any = any || has_primary_context(i);
  expect(!any, "listing devices makes no context");
}

// On a thread of its own, which has no context yet.
void test_no_context(const std::string& model) {
  std::thread([&] {
    bool same = true;
    const auto look = [&] { same = same && current_context() == nullptr; };
    look();
    expect(same, "a new thread has no context");
    const Made made = live(model, "cuda:0", look);
    expect(made.status == DIFFULEX_OK && same, "it has none while an engine lives");
    look();
    expect(same, "and none afterwards");
  }).join();
}

void test_own_context(const std::string& model) {
  std::thread([&] {
    CUcontext own = nullptr;
    CUdevice device = 0;
    (void)driver<decltype(&cuDeviceGet)>("cuDeviceGet")(&device, 0);
    (void)driver<CUresult (*)(CUcontext*, unsigned, CUdevice)>("cuCtxCreate_v2")(&own, 0, device);
    bool same = own != nullptr && current_context() == own;
    const Made made = live(model, "cuda:0", [&] { same = same && current_context() == own; });
    expect(made.status == DIFFULEX_OK && same && current_context() == own,
           "a context of the caller's own stays current");
    if (own != nullptr) (void)driver<decltype(&cuCtxDestroy)>("cuCtxDestroy_v2")(own);
  }).join();
}

void test_other_device(const std::string& model) {
  std::thread([&] {
    (void)cudaSetDevice(1);
    bool same = true;
    int current = -1;
    const auto look = [&] {
      same = same && cudaGetDevice(&current) == cudaSuccess && current == 1;
    };
    const Made first = live(model, "cuda:0", look);
    const Made second = live(model, "cuda:1", look);
    look();
    expect(first.status == DIFFULEX_OK && second.status == DIFFULEX_OK && same,
           "the caller's device stays current beside an engine on another one");
    expect(first.tokens.size() == 24 && first.tokens == second.tokens,
           "both devices give the same tokens");
  }).join();
}

void test_full_device(const std::string& model) {
  constexpr size_t kLeft = size_t{48} << 20;
  (void)cudaSetDevice(0);
  size_t free = 0, total = 0;
  (void)cudaMemGetInfo(&free, &total);
  void* held = nullptr;
  if (free < kLeft || cudaMalloc(&held, free - kLeft) != cudaSuccess) {
    expect(false, "a device could be filled");
    return;
  }
  const Made made = live(model, "cuda:0");
  expect(made.status == DIFFULEX_E_DEVICE_MEMORY && std::atoll(made.needed.c_str()) > 0 &&
             std::atoll(made.free.c_str()) <= static_cast<long long>(free),
         "a full device is an error with numbers: needed " + made.needed + ", free " + made.free);
  (void)cudaFree(held);
  const Made again = live(model, "cuda:0");
  expect(again.status == DIFFULEX_OK && again.tokens.size() == 24, "and the process goes on");
}

}  // namespace

int main(int argc, char** argv) {
  int devices = 0;
  if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
    std::printf("no CUDA device: nothing was tested\n");
    return 77;
  }
  if (argc != 2) {
    std::fprintf(stderr, "usage: %s MODEL_DIR\n", argv[0]);
    return 2;
  }
  test_listing(devices);
  test_no_context(argv[1]);
  test_own_context(argv[1]);
  test_full_device(argv[1]);
  if (devices > 1)
    test_other_device(argv[1]);
  else
    std::printf("one device: the caller's other device was not tested\n");
  return failures == 0 ? 0 : 1;
}
