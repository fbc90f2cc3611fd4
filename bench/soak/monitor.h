// Looks at a running engine every second: memory, pages, counters, and whether it still moves.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <thread>
#include <vector>

#include "device_memory.h"
#include "diffulex.h"
#include "findings.h"
#include "ledger.h"

namespace diffulex_soak {

struct Sample {
  double seconds = 0;                 // since the start
  uint64_t resident = 0, device = 0;  // bytes; device 0: not known
  uint64_t live = 0;
  diffulex_engine_stats stats{};
};

// Growth of a memory between the first third of the samples (behind a warm-up) and the last one.
struct Growth {
  double first_mb = 0, last_mb = 0;  // medians

  bool flat() const;
};

// Thread class: one owner; it has a thread of its own between construction and finish().
class Monitor {
 public:
  // watch: an engine that has requests and makes no step for 5 s ends the process.
  Monitor(const diffulex_engine* engine, const std::string& device, const Ledger& ledger,
          bool watch);
  ~Monitor() { finish(); }
  Monitor(const Monitor&) = delete;
  Monitor& operator=(const Monitor&) = delete;

  void finish();
  // After finish().
  const std::vector<Sample>& samples() const { return samples_; }
  Growth resident() const { return growth(&Sample::resident); }
  Growth device() const { return growth(&Sample::device); }

 private:
  void loop();
  Sample sample() const;
  void watch_over(const Sample& now);
  Growth growth(uint64_t Sample::*memory) const;

  const diffulex_engine* engine_;
  const DeviceMemory device_memory_;
  const Ledger& ledger_;
  const bool watch_;
  const uint64_t start_ns_;
  std::vector<Sample> samples_;  // of the monitor's thread until finish()
  uint64_t moved_steps_ = 0;
  double moved_at_ = 0;  // seconds
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

void print_header();
void print(const Sample& sample);

}  // namespace diffulex_soak
