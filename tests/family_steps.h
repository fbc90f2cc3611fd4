// The scenarios of tests/data/families as steps of a backend, for the CPU and for devices.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "oracle/families.h"
#include "unit/cpu_harness.h"

namespace diffulex::testing {

using diffulex_oracle::FamilyCase;
using diffulex_oracle::GoldenRow;
using diffulex_oracle::Scenario;

// Runs a plan whose heads are these golden rows.
using RunHeads = std::function<void(const std::string& way, const wire::StepPlan& plan,
                                    std::span<const GoldenRow> heads)>;

class FamilySteps {
 public:
  FamilySteps(const FamilyCase& family, const Scenario& scenario, int mask, RunHeads run)
      : family_(family), s_(scenario), mask_(mask), run_(std::move(run)) {}

  // In every way that gives the same rows.
  void run_all() {
    const int end = static_cast<int>(s_.ids.size()), block = family_.block();
    run("whole", {0, end});
    if (s_.cached > 0) run("on a cached prefix", {0, s_.cached, end});
    if (s_.prompt > 0) return;  // such a prompt is computed at once
    const int middle = (s_.cached > 0 ? s_.cached / 2 : 16) / block * block;
    if (middle == 0) return;
    if (s_.cached > 0)
      run("in chunks", {0, middle, s_.cached, end});
    else
      run("in chunks", {0, middle, end});
  }

 private:
  void run(const std::string& way, const std::vector<int>& cuts) {
    for (size_t i = 0; i + 1 < cuts.size(); ++i)
      run_piece(s_.name + " " + way, cuts[i], cuts[i + 1]);
  }

  void run_piece(const std::string& way, int begin, int end) {
    const bool last = end == static_cast<int>(s_.ids.size());
    // As in decoding, a model that shifts reads the row in front of its last piece from the slot.
    const bool carried = last && begin > 0 && family_.shift();
    const int first = carried ? begin - 1 : std::max(begin, s_.first);
    const int heads_end = carried ? end - 1 : end;
    PlanBuilder plan;
    const std::vector<int32_t> ids(s_.ids.begin() + begin, s_.ids.begin() + end);
    RequestRow& row =
        plan.add(0, ids, begin, last ? 0 : end - begin,
                 carried ? ids.size() : static_cast<size_t>(std::min(first, end) - begin),
                 begin == 0 ? iota(3, 20) : std::vector<int32_t>());
    const int block = family_.block();
    const bool prompt = s_.prompt > 0 && begin == 0;
    row.attention = {prompt ? decide::kPrefixFull : decide::kBlockCausal, block, s_.prompt,
                     (s_.prompt + block - 1) / block * block, 0};
    row.sampler.flags = decide::kWantEntropy;
    row.blocks.mask_token = mask_;
    row.blocks.shift = family_.shift() ? 1 : 0;
    if (family_.shift() && !last) row.carry_row = end - begin - 1;
    if (carried) {
      plan.head_rows.push_back(kCarriedRow);
      for (int i = begin; i < heads_end; ++i) plan.head_rows.push_back(i - begin);
      row.head_count = static_cast<uint32_t>(plan.head_rows.size());
    }
    std::vector<GoldenRow> golden;
    for (const GoldenRow& g : s_.rows)
      if (g.position >= first && g.position < heads_end) golden.push_back(g);
    run_(way, plan.finish(), golden);
  }

  const FamilyCase& family_;
  const Scenario& s_;
  const int mask_;
  const RunHeads run_;
};

inline BackendConfig family_config(const ArchSpec& arch, DType dtype, int threads) {
  BackendConfig config = small_config(dtype, threads);
  config.carry_rows = arch.decoding.shift;
  return config;
}

}  // namespace diffulex::testing
