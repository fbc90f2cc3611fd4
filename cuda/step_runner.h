// Runs steps on a device: the upload, the launches or their recording, the results.
#pragma once

#include <exception>
#include <optional>

#include "backend/step.h"
#include "cuda/forward.h"
#include "cuda/graphs.h"
#include "cuda/kernels/chain.h"
#include "cuda/step_arena.h"
#include "cuda/stream.h"

namespace diffulex::cuda {

// What a step gives back, in one block: windows, tokens, picks.
struct ResultLayout {
  size_t windows, tokens, picks, bytes;

  explicit ResultLayout(const BackendConfig& config) {
    const auto requests = static_cast<size_t>(config.max_requests);
    windows = 0;
    tokens = requests * sizeof(decide::Window);
    picks = tokens + requests * static_cast<size_t>(config.window_stride) * sizeof(int32_t);
    bytes = picks + static_cast<size_t>(config.max_head_rows) * sizeof(decide::Pick);
  }
};

// Thread class: the backend's owner thread; the device is current.
class StepRunner {
 public:
  StepRunner(const ArchSpec& arch, const BackendConfig& config, const DeviceModel& model);

  // Gives the cache so many pages, filled with zeros. What was in it, in the page tables and in
  // recordings is void. No step may be under way.
  void place_cache(int64_t pages);
  // The page tables map nothing any more.
  void forget_pages();
  int64_t kv_pages() const { return kv_pages_; }

  // As Backend has them.
  StepResult begin(const wire::StepPlan& plan, int ahead);
  StepResult next(bool more);
  bool worth_following(int32_t rows, int32_t heads, int32_t most) const;

  // begin() in two: another step may only start when the last one's results were taken.
  void start(const wire::StepPlan& plan, int ahead);
  StepResult result();
  // Records the launches of a plan's step, so that it is replayed when it first comes. With ahead >
  // 0, those of the steps behind it too. Returns how many recordings it made.
  int record(const wire::StepPlan& plan, int ahead);

  uint64_t kv_bytes() const { return forward_.kv_bytes(); }
  uint64_t workspace_bytes() const;
  std::string blas_version() const { return blas_.version(); }

 private:
  Step make_step() const;
  bool recordable() const;
  void launch(std::span<const HeadRow> heads, bool chained);
  void put(bool chained);
  void ask();

  const ArchSpec arch_;
  const BackendConfig config_;
  const ResultLayout layout_;
  int64_t kv_pages_ = 0;
  std::optional<Step> step_;  // made with the cache
  Stream stream_;
  Blas blas_;
  StepArena arena_;
  DeviceMemory result_;
  DeviceMemory chain_;  // workspace of launch_chain
  // Results of steps by turns: the host reads one while the next one is written. The event: it is
  // there.
  PinnedMemory pinned_[2];
  Event done_[2];
  const int32_t item_rows_;
  Forward forward_;
  Graphs graphs_;

  StepView view_;               // of the last plan and of what follows it
  bool recorded_ = false;       // they are recorded
  uint64_t started_ = 0;        // steps
  uint64_t taken_ = 0;          // steps whose results were handed out
  std::exception_ptr refused_;  // why the step that was asked for could not be started
};

}  // namespace diffulex::cuda
