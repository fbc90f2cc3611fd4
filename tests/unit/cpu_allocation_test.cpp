// A warm step allocates nothing. This file replaces the global operator new of the test program to
// count calls.
#include <gtest/gtest.h>

#include "unit/cpu_harness.h"

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)

#include <dlfcn.h>

#include <atomic>
#include <cstdlib>
#include <new>

namespace {

std::atomic<bool> counting{false};
std::atomic<int> allocations{0};

// oneDNN 2.6 builds a small argument map in every execute; the library has no say in that.
bool from_onednn(void* caller) {
  Dl_info info;
  return dladdr(caller, &info) != 0 && info.dli_fname != nullptr &&
         std::strstr(info.dli_fname, "libdnnl") != nullptr;
}

void* allocate(size_t size, void* caller) {
  if (counting.load(std::memory_order_relaxed) && !from_onednn(caller)) ++allocations;
  if (void* p = std::malloc(size == 0 ? 1 : size)) return p;
  throw std::bad_alloc();
}

}  // namespace

void* operator new(size_t size) { return allocate(size, __builtin_return_address(0)); }
void* operator new[](size_t size) { return allocate(size, __builtin_return_address(0)); }
void operator delete(void* p) noexcept { std::free(p); }
void operator delete[](void* p) noexcept { std::free(p); }
void operator delete(void* p, size_t) noexcept { std::free(p); }
void operator delete[](void* p, size_t) noexcept { std::free(p); }

namespace diffulex {
namespace {

TEST(CpuAllocation, AWarmStepAllocatesNothing) {
  const auto model = testing::load_tiny(std::string(DIFFULEX_MODELS_DIR) + "/tiny-sdar");
  const DType dtype = cpu::best_weight_dtype();
  cpu::CpuBackend backend(model->arch, model->weights, testing::small_config(dtype, 2), nullptr);
  testing::PlanBuilder plan;
  const std::vector<int32_t> ids(40, 5);
  plan.add(0, ids, 0, 40, 0, testing::iota(0, 10));
  plan.add(1, ids, 0, 0, 8).sampler = {1, 0.9f, 20, decide::kWantEntropy, 1};
  plan.add(2, ids, 0, 0, 0).sampler = {1, 1, 0, 0, 1};
  const wire::StepPlan& step = plan.finish();
  backend.execute(step);
  counting = true;
  for (int i = 0; i < 3; ++i) backend.execute(step);
  counting = false;
  EXPECT_EQ(allocations.load(), 0);
}

}  // namespace
}  // namespace diffulex

#endif
