// The output projection and the selection of tokens, fused: no buffer holds a row's whole
// vocabulary but in the rare exact path of a wide nucleus, one row at a time.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "backend/cpu/candidates.h"
#include "backend/cpu/matmul.h"
#include "backend/cpu/team.h"
#include "backend/step.h"
#include "decide/select.h"

namespace diffulex::cpu {

struct HeadConfig {
  int members = 1;
  int token_count = 0;  // ids at and behind it are never chosen
  int max_rows = 0;
  int candidate_limit = 4096;  // kept for a row with top_k or top_p
};

// Thread class: prepare() by the owner while no member runs; run() by all members of the team
// together.
class Head {
 public:
  static constexpr int64_t kTile = 2 * decide::kTileIds;  // columns of the projection's tiles

  Head() = default;
  Head(const PackedMatrix* weights, const HeadConfig& config);

  // Before run(): makes kernels and grows buffers for these rows.
  void prepare(Matmul& matmul, std::span<const HeadRow> rows);

  // x: [rows, hidden] in the matmul's type. picks: [rows]. logits: [rows, vocabulary] gets the raw
  // logits, or null.
  void run(int member, Team& team, Matmul& matmul, const std::byte* x, size_t x_row_bytes,
           decide::Pick* picks, float* logits);

  uint64_t bytes() const;

 private:
  void reduce(int member, int64_t t, int64_t first, int64_t count, float* scores, float* logits);
  bool pick_truncated(const HeadRow& row, const decide::TilePartial* tiles,
                      const decide::Candidate* ranked, int count, bool complete,
                      decide::Pick* pick) const;
  void finish_row(int64_t r, int64_t chunk_first, decide::Pick* picks);
  void run_exact(int member, Team& team, Matmul& matmul, const std::byte* x, int64_t r,
                 decide::Pick* picks);
  void adjust(const HeadRow& row, int32_t first_id, int n, float* scores) const;
  int slot_of(int64_t r) const { return filter_slots_[static_cast<size_t>(r)]; }
  Candidates& candidates(int member, int slot) {
    return candidates_[static_cast<size_t>(member) * static_cast<size_t>(slots_) +
                       static_cast<size_t>(slot)];
  }

  const PackedMatrix* weights_ = nullptr;
  HeadConfig config_;
  int64_t select_tiles_ = 0;       // tiles of decide::kTileIds ids
  std::span<const HeadRow> rows_;  // of the run
  Buffer scores_;                  // [members, kRowChunk, kTile]
  Buffer summaries_;               // [kRowChunk, select_tiles_] TilePartial
  std::vector<int>
      filter_slots_;  // [max_rows], slot in candidates_ within the row's chunk, -1: no filter
  int slots_ = 0;     // per member
  std::vector<Candidates> candidates_;    // [members, slots_]
  std::vector<uint8_t> wants_exact_;      // [max_rows]
  Buffer exact_scores_;                   // [vocabulary], made when first needed
  std::vector<decide::Candidate> exact_;  // [vocabulary], likewise
};

}  // namespace diffulex::cpu
