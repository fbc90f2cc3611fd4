// What an engine asks of a device. A backend owns the weights, the KV pages and the resident page
// tables; it executes one plan at a time and decides nothing by itself: after the forward, and for
// steps that it runs behind one another, it calls the functions of src/decide.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "backend/plan.h"
#include "base/dtype.h"
#include "diffulex.h"
#include "model/arch.h"
#include "model/weights.h"
#include "step_generated.h"

namespace diffulex {

struct BackendConfig {
  int max_requests = 0;   // resident rows
  int max_tokens = 0;     // rows of one step
  int max_head_rows = 0;  // rows of one step that the sampler reads
  int max_pages_per_request = 0;
  int page_size = 0;           // tokens
  int64_t kv_pages = 0;        // wanted; all that there are on the CPU
  int64_t kv_pages_least = 0;  // fewer are an error, where a device may have fewer; 0: kv_pages
  int memory_percent = 100;    // how full a device's memory may get with them; CUDA
  int window_stride = 0;       // buffer_blocks * block_size
  bool carry_rows = false;     // requests may carry a row from one forward to the next
  DType weight_dtype = DType::kF32;
  DType kv_dtype = DType::kF32;
  int threads = 1;               // compute threads, the caller of execute() included
  int device = 0;                // of a kind that has several
  int device_steps = 1;          // steps that may follow one another; for what is prepared ahead
  bool graphs = true;            // record recurring steps, where the device can
  bool batch_invariant = false;  // a row's bits do not depend on the other rows of its step; CUDA
};

struct MemoryPlan {  // bytes
  uint64_t weights = 0;
  uint64_t kv = 0;
  uint64_t workspace = 0;
};

// Called while weights are packed: bytes done, bytes in all, the tensor at work. Returns false to
// cancel the load.
using LoadProgress = std::function<bool(uint64_t done, uint64_t total, const std::string& item)>;

// Thread class: one owner thread calls execute(), begin() and next(); the others from any thread.
class Backend {
 public:
  virtual ~Backend() = default;
  Backend(const Backend&) = delete;
  Backend& operator=(const Backend&) = delete;

  // Runs the plan and returns its result. Throws Error(DIFFULEX_E_DEVICE_FAULT) when the device is
  // lost. Allocates nothing once a step of the same shape has run.
  StepResult execute(const wire::StepPlan& plan) { return begin(plan, 0); }

  // execute() for a plan that up to `ahead` steps may follow without another one: each is what
  // diffulex::follow makes of the step before. With ahead > 0 the first of them is asked for, and
  // the backend may run it while the caller reads the result: next() has to be called for it. Every
  // request of such a plan decodes: its rows begin with its window, it has pages for what all the
  // steps may store (decide::stored_bound), and no logit adjustments or truncating sampler.
  virtual StepResult begin(const wire::StepPlan& plan, int ahead) = 0;
  // The result of the step that was asked for. more: another one is asked for behind it. When it
  // throws, that step has not happened and none is asked for any more.
  virtual StepResult next(bool more) = 0;
  // Whether steps should follow one another that have `rows` rows, `heads` of them read by the
  // sampler, now, and up to `most` of both later: a backend whose launches have fixed sizes would
  // compute the difference in vain.
  virtual bool worth_following(int32_t /*rows*/, int32_t /*heads*/, int32_t /*most*/) const {
    return true;
  }

  virtual MemoryPlan memory() const = 0;    // what is allocated
  virtual int64_t kv_pages() const = 0;     // that plans may name
  virtual std::string kernels() const = 0;  // e.g. "cpu avx3 oneDNN 2.6.3 bf16"

 protected:
  Backend() = default;
};

// The CPU backend (src/backend/cpu). plan: bytes it would need; create: packs the weights (borrowed
// only during the call).
namespace cpu {
// bf16 where the processor multiplies it natively, f32 elsewhere.
DType best_weight_dtype();
MemoryPlan plan_memory(const ArchSpec& arch, const BackendConfig& config);
std::unique_ptr<Backend> create(const ArchSpec& arch, const ModelWeights& weights,
                                const BackendConfig& config, const LoadProgress& progress);
}  // namespace cpu

}  // namespace diffulex
