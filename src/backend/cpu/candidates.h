// The most probable tokens of each row, collected tile by tile: for top-k and top-p.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "decide/select.h"

namespace diffulex::cpu {

// One member's candidates of up to `rows` rows. A row keeps its kMaxCandidates best; the order of tiles does not matter.
class CandidateLists {
 public:
  // Makes room and forgets everything.
  void reset(int rows);
  void offer(int row, const float* logits, int n, int32_t first_id);
  std::span<decide::Candidate> list(int row);

 private:
  struct Row {
    int count = 0;
    float floor = 0;     // nothing at or below it can be among the best...
    bool full = false;   // ...once this many were seen
  };
  void shrink(int row);

  std::vector<Row> rows_;
  std::vector<decide::Candidate> items_;  // [rows, 2 * kMaxCandidates]
};

// All members' candidates of a row, sorted, at most kMaxCandidates. *complete: these are all tokens there are.
std::span<const decide::Candidate> merge_candidates(std::span<CandidateLists> members, int row, int token_count, bool* complete);

}  // namespace diffulex::cpu
