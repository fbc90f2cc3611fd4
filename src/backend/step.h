// One step as a backend computes it: the checked plan, spelt out per row.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "backend/backend.h"
#include "backend/chain.h"

namespace diffulex {

// What the sampler knows of one head row.
struct HeadRow {
  decide::SamplerParams sampler;
  int32_t position;                             // absolute, of the token that is chosen
  int32_t step;                                 // denoising forwards of the request before this one
  int32_t mask_token;                           // never chosen
  std::span<const decide::LogitAdjust> adjust;  // by token, ascending
};

// The last hidden state of `row` is kept in the resident row `slot`.
struct CarriedRow {
  int32_t row;
  int32_t slot;
  int32_t position;  // absolute
};

// Buffers are sized once; load() fills them. Thread class: load() by the owner, read by everybody
// during a run.
class Step {
 public:
  // item_rows: query rows of an AttentionItem at most.
  Step(const ArchSpec& arch, const BackendConfig& config, int32_t item_rows);

  // Checks every index of the plan, applies its page-table entries and fills the fields below.
  // Throws Error(DIFFULEX_E_INTERNAL) when the plan is not sound; nothing of it is applied then.
  void load(const wire::StepPlan& plan);

  // Turns the step into the one behind it, whatever the windows and tokens of this one's result
  // say.
  void follow(std::span<const decide::Window> windows, std::span<const int32_t> window_tokens);

  int64_t max_positions() const { return max_positions_; }
  uint64_t bytes() const;

  std::span<const RequestRow> requests;
  std::span<const int32_t> tokens;     // [rows]
  std::span<const int32_t> head_rows;  // ascending
  std::span<const int32_t> pages;      // new page-table entries, see RequestRow
  std::vector<int32_t> row_request;    // [rows]
  std::vector<AttentionItem> items;
  std::vector<HeadRow> head;         // [head rows]
  std::vector<int32_t> head_source;  // [head rows], a row of the step, or ~slot of a carried one
  std::vector<CarriedRow> carried;   // rows to keep

  std::span<const decide::LogitAdjust> adjustments() const { return adjustments_; }
  // The page table of a resident row, [max_pages_per_request].
  const int32_t* table(uint32_t slot) const {
    return tables_.data() + size_t{slot} * static_cast<size_t>(config_.max_pages_per_request);
  }

  // After the forward: the rows in `carried` are there for the next one.
  void keep_carried();

 private:
  void check_request(const RequestRow& row, size_t index, uint64_t next_token,
                     uint64_t next_head) const;
  void check_pages(const RequestRow& row) const;
  void check_window(const RequestRow& row) const;
  void check_heads(const RequestRow& row, uint64_t next_head) const;
  void check_adjustments(const RequestRow& row) const;
  void spell_out();
  void add_heads(const RequestRow& row);

  const BackendConfig config_;
  const int vocabulary_;
  const int64_t max_positions_;  // a row's position is below it
  const int32_t item_rows_;
  std::vector<RequestRow> rows_;     // [max_requests], what `requests` views
  std::vector<int32_t> tables_;      // [max_requests, max_pages_per_request], -1: not mapped
  std::vector<int32_t> carried_at_;  // [max_requests], position of the row that is kept, -1: none
  std::vector<decide::LogitAdjust> adjustments_;  // of all requests
  std::vector<int32_t> own_tokens_;               // of a step that no plan describes
  std::vector<int32_t> own_head_rows_;            // likewise
};

}  // namespace diffulex
