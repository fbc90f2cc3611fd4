// Records of kernels and copies from CUPTI, which is opened by hand: without it a benchmark runs
// and says so.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "activity.h"

namespace diffulex_bench {

// Kernels inside recorded graphs come one by one when the trace is open before they are recorded.
// CUPTI's callbacks know no caller, so a process has one trace. Thread class: one owner; CUPTI
// calls back from threads of its own.
class CuptiTrace {
 public:
  // Null, with the reason in *why, when there is no CUPTI or it refuses.
  static std::unique_ptr<CuptiTrace> open(std::string* why);
  ~CuptiTrace();
  CuptiTrace(const CuptiTrace&) = delete;
  CuptiTrace& operator=(const CuptiTrace&) = delete;

  uint64_t now() const;  // ns, of the records' clock
  // What has been recorded since the last call. The device must be idle.
  std::vector<Activity> take();

 private:
  struct Api;
  explicit CuptiTrace(std::unique_ptr<Api> api);
  std::string begin();

  std::unique_ptr<Api> api_;
};

}  // namespace diffulex_bench
