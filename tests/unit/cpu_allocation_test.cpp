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
  for (const DType dtype : {cpu::best_weight_dtype(), DType::kI8}) {
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
}

TEST(CpuAllocation, NorDoStepsThatFollowOneAnother) {
  const auto model = testing::load_tiny(std::string(DIFFULEX_MODELS_DIR) + "/tiny-sdar");
  const BackendConfig config = testing::small_config(cpu::best_weight_dtype(), 2);
  cpu::CpuBackend backend(model->arch, model->weights, config, nullptr);
  testing::PlanBuilder plan;
  for (uint32_t slot = 0; slot < 2; ++slot) {
    const int32_t first = 10 * static_cast<int32_t>(slot);
    RequestRow& row =
        plan.add(slot, std::vector<int32_t>(8, 1023), 0, 0, 0, testing::iota(first, 10));
    row.window_offset = 0;
    row.blocks = {8, 4, 1023, 1, 8, 0.99f, 0, 0, 0, {}, 0, 0};
    row.window.valid = 1;
    row.window.limit = slot == 0 ? 32 : 6;  // the second one ends earlier
    row.window.limit_reason = decide::kMaxTokens;
    row.window.first_stop = -1;
    for (int i = 0; i < 4; ++i)
      row.window.blocks[i].masks =
          static_cast<uint16_t>(decide::counted_positions(row.blocks, row.window, i));
    row.window.blocks[0].status = decide::kActive;
  }
  const wire::StepPlan& step = plan.finish();
  const auto run = [&] {
    std::vector<int32_t> forwards;
    forwards.reserve(100);
    StepResult result = backend.begin(step, 30);
    while (result.windows[0].finish == decide::kRunning ||
           result.windows[1].finish == decide::kRunning) {
      forwards.push_back(result.windows[1].forwards);
      result = backend.next(true);
    }
    EXPECT_GT(forwards.size(), 1u);
    EXPECT_GT(result.windows[0].forwards, result.windows[1].forwards);  // that one was parked
    EXPECT_EQ(result.requests[1].token_count, 0u);
    EXPECT_EQ(result.requests[1].head_count, 0u);
  };
  run();
  counting = true;
  run();
  counting = false;
  EXPECT_EQ(allocations.load(), 1);  // `forwards`
}

}  // namespace
}  // namespace diffulex

#endif
