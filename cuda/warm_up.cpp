#include "cuda/warm_up.h"

#include <algorithm>
#include <string>
#include <vector>

#include "backend/rounding.h"
#include "backend/warm_up.h"
#include "base/error.h"

namespace diffulex::cuda {
namespace {

constexpr size_t kMeasured = 4;  // plans whose recordings are weighed
// The driver hands out memory in pieces; the cache leaves it some.
constexpr uint64_t kSlack = uint64_t{32} << 20;

struct Space {
  size_t free = 0, total = 0;  // bytes

  Space() { check(cudaMemGetInfo(&free, &total), "cudaMemGetInfo"); }
};

// One plan for every number of requests that steps are rounded up to.
std::vector<flatbuffers::DetachedBuffer> decode_plans(const ArchSpec& arch,
                                                      const BackendConfig& config) {
  std::vector<flatbuffers::DetachedBuffer> plans;
  const int32_t most = decode_step(config, config.max_requests).requests;
  for (int32_t n = 1; n <= most; n = n == most ? n + 1 : rounded_size(n + 1, most))
    plans.push_back(warm_up_plan(arch, config, decode_step(config, n)));
  return plans;
}

const wire::StepPlan& plan_in(const flatbuffers::DetachedBuffer& buffer) {
  return *flatbuffers::GetRoot<wire::StepPlan>(buffer.data());
}

int record_all(const std::vector<flatbuffers::DetachedBuffer>& plans, size_t count, int ahead,
               StepRunner& runner) {
  int made = 0;
  for (size_t i = 0; i < std::min(count, plans.size()); ++i)
    made += runner.record(plan_in(plans[i]), ahead);
  return made;
}

// Bytes that all recordings there may ever be will take.
uint64_t weigh_recordings(const std::vector<flatbuffers::DetachedBuffer>& plans, int ahead,
                          StepRunner& runner) {
  const Space before;
  const int made = record_all(plans, kMeasured, ahead, runner);
  const Space after;
  if (made == 0 || after.free >= before.free) return 0;
  return (before.free - after.free) / static_cast<uint64_t>(made) * Graphs::kMostShapes;
}

int64_t affordable_pages(const BackendConfig& config, uint64_t page_bytes, uint64_t reserved) {
  const Space space;
  const uint64_t kept =
      space.total / 100 * static_cast<uint64_t>(100 - config.memory_percent) + reserved + kSlack;
  const uint64_t room = space.free > kept ? space.free - kept : 0;
  const auto pages = static_cast<int64_t>(room / page_bytes);
  const int64_t least = config.kv_pages_least > 0 ? config.kv_pages_least : config.kv_pages;
  if (pages >= least) return std::min(pages, config.kv_pages);
  const uint64_t needed = static_cast<uint64_t>(least) * page_bytes;
  throw Error(DIFFULEX_E_DEVICE_MEMORY,
              "behind weights and workspace " + std::to_string(space.free) +
                  " bytes are free on the device, of which " + std::to_string(kept) +
                  " stay free; a KV cache of " + std::to_string(least) + " pages needs " +
                  std::to_string(needed))
      .with("bytes_needed", std::to_string(needed))
      .with("bytes_free", std::to_string(room));
}

}  // namespace

uint64_t warm_up(const ArchSpec& arch, const BackendConfig& config, StepRunner& runner) {
  runner.place_cache(1);
  const uint64_t page_bytes = runner.kv_bytes();
  std::vector<flatbuffers::DetachedBuffer> largest;
  for (const WarmUpStep& step : warm_up_steps(config))
    largest.push_back(warm_up_plan(arch, config, step));
  const std::vector<flatbuffers::DetachedBuffer> decodes = decode_plans(arch, config);
  const int ahead = config.device_steps - 1;
  for (const flatbuffers::DetachedBuffer& plan : largest) runner.begin(plan_in(plan), 0);
  for (const flatbuffers::DetachedBuffer& plan : decodes) {
    runner.begin(plan_in(plan), ahead);
    if (ahead > 0) runner.next(false);
  }
  const uint64_t recordings = weigh_recordings(decodes, ahead, runner);
  runner.place_cache(0);
  runner.place_cache(affordable_pages(config, page_bytes, recordings));
  // The device is busy meanwhile.
  runner.start(plan_in(largest.front()), 0);
  (void)record_all(decodes, decodes.size(), ahead, runner);
  (void)runner.result();
  runner.forget_pages();
  return recordings;
}

}  // namespace diffulex::cuda
