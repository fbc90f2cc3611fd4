// A backend without a model: every pick is scripted, and a shadow of the KV cache checks each read.
// A slot remembers which tokens its keys were computed from: everything that its row saw. What a
// position must have been computed from follows from the strategy: everything up to the end of its
// block, or the whole prompt for a prompt that is read in both directions.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <vector>

#include "backend/backend.h"
#include "backend/chain.h"
#include "decide/multi_block.h"
#include "decide/visibility.h"

namespace diffulex::testing {

class ScriptedBackend : public Backend {
 public:
  // step, position -> pick
  using Script =
      std::function<decide::Pick(uint64_t step, const RequestRow& row, int32_t position)>;

  ScriptedBackend(int page_size, int max_requests, Script script, bool prefix_full = false)
      : page_size_(page_size),
        prefix_full_(prefix_full),
        tables_(static_cast<size_t>(max_requests)),
        script_(std::move(script)) {}

  StepResult begin(const wire::StepPlan& plan, int /*ahead*/) override {
    step_ = plan.step();
    rows = std::vector<RequestRow>(
        reinterpret_cast<const RequestRow*>(plan.requests()->Data()),
        reinterpret_cast<const RequestRow*>(plan.requests()->Data() + plan.requests()->size()));
    input.assign(plan.tokens()->begin(), plan.tokens()->end());
    head_rows.assign(plan.head_rows()->begin(), plan.head_rows()->end());
    for (const RequestRow& row : rows) update_table(plan, row);
    return run();
  }

  StepResult next(bool /*more*/) override {
    ++step_;
    ++followed;
    input.clear();
    head_rows.clear();
    for (size_t i = 0; i < rows.size(); ++i) {
      RequestRow& row = rows[i];
      const int32_t* const window = tokens_.data() + i * stride(row);
      row.window = windows_[i];
      follow(row);
      row.first_token = static_cast<uint32_t>(input.size());
      row.head_begin = static_cast<uint32_t>(head_rows.size());
      input.insert(input.end(), window, window + row.token_count);
      head_rows.resize(head_rows.size() + row.head_count);
      write_head_rows(row, window, head_rows.data() + row.head_begin);
    }
    return run();
  }

  MemoryPlan memory() const override { return {}; }
  int64_t kv_pages() const override { return INT32_MAX; }
  std::string kernels() const override { return "scripted"; }

  // Of the last step.
  std::vector<RequestRow> rows;
  std::vector<int32_t> input;
  std::vector<int32_t> head_rows;
  uint64_t followed = 0;      // steps without a plan
  uint64_t stored_slots = 0;  // in all steps
  uint64_t carried_reads = 0;

  const std::vector<int32_t>& table(uint32_t slot) const { return tables_[slot]; }

 private:
  StepResult run() {
    windows_.clear();
    tokens_.clear();
    picks_.clear();
    for (const RequestRow& row : rows) {
      update_sequence(row);
      check_reads(row);
    }
    for (const RequestRow& row : rows) store(row);
    for (const RequestRow& row : rows) decide(row);
    for (const RequestRow& row : rows) carry(row);
    StepResult result;
    result.requests = rows;
    result.windows = windows_;
    result.tokens = tokens_;
    result.window_stride = rows.empty() ? 0 : stride(rows.front());
    result.picks = picks_;
    return result;
  }

  static size_t stride(const RequestRow& row) {
    return static_cast<size_t>(row.blocks.buffer_blocks) *
           static_cast<size_t>(row.blocks.block_size);
  }

  void update_table(const wire::StepPlan& plan, const RequestRow& row) {
    std::vector<int32_t>& table = tables_[row.slot];
    table.resize(row.table_offset);
    for (uint32_t i = 0; i < row.page_count; ++i)
      table.push_back(plan.pages()->Get(row.page_begin + i));
    if (row.table_offset > 0) return;
    sequences_[row.slot].clear();
    if (row.context_len == 0) carried_.erase(row.slot);
  }

  void update_sequence(const RequestRow& row) {
    // The request's tokens, as far as its plans have shown them; a fresh table is a fresh request.
    // -1: not seen yet.
    std::vector<int32_t>& sequence = sequences_[row.slot];
    if (row.token_count == 0) return;
    sequence.resize(static_cast<size_t>(row.context_len) + row.token_count, -1);
    for (uint32_t i = 0; i < row.token_count; ++i)
      sequence[static_cast<size_t>(row.context_len) + i] = input[row.first_token + i];
  }

  // Keys [0, n) that the row of position p sees in this forward.
  static int32_t seen_by(const RequestRow& row, int32_t p) {
    const int32_t span_end = row.context_len + static_cast<int32_t>(row.token_count);
    return decide::visible_keys(row.attention, p, row.context_len, span_end, 0).end;
  }

  // What the cached keys of position p must have been computed from.
  int32_t expected_end(const RequestRow& row, int32_t p) const {
    const int32_t b = row.blocks.block_size, prompt = row.window.prompt_len;
    return prefix_full_ && p < prompt / b * b ? prompt : (p / b + 1) * b;
  }

  // A row that is kept for the next forward: computed from everything it must see.
  void carry(const RequestRow& row) {
    if (row.carry_row < 0) return;
    const int32_t p = row.context_len + row.carry_row;
    ASSERT_EQ(seen_by(row, p), expected_end(row, p));
    carried_[row.slot] = p;
  }

  void store(const RequestRow& row) {
    for (int32_t i = 0; i < row.store_len; ++i) {
      const int32_t p = row.context_len + i;
      const int32_t seen = seen_by(row, p);
      ASSERT_LT(static_cast<size_t>(p / page_size_), tables_[row.slot].size())
          << "no page for a stored position";
      const int64_t key = int64_t{tables_[row.slot][p / page_size_]} * page_size_ + p % page_size_;
      const auto& sequence = sequences_[row.slot];
      ASSERT_LE(static_cast<size_t>(seen), sequence.size());
      shadow_[key] = std::vector<int32_t>(sequence.begin(), sequence.begin() + seen);
      ++stored_slots;
    }
  }

  // Every cached position holds keys of exactly this request's tokens up to the end of its block
  // (invariant I16).
  void check_reads(const RequestRow& row) {
    auto& sequence = sequences_[row.slot];
    for (int32_t p = 0; p < row.context_len; ++p) {
      const int64_t key = int64_t{tables_[row.slot][p / page_size_]} * page_size_ + p % page_size_;
      const auto at = shadow_.find(key);
      ASSERT_NE(at, shadow_.end()) << "position " << p << " was never stored";
      const auto end = static_cast<size_t>(expected_end(row, p));
      ASSERT_EQ(at->second.size(), end) << "position " << p << " was computed under another mask";
      if (sequence.size() < end) sequence.resize(end, -1);
      for (size_t i = 0; i < end; ++i) {
        if (sequence[i] == -1) sequence[i] = at->second[i];  // known from a shared page only
        ASSERT_EQ(at->second[i], sequence[i])
            << "position " << p << " was computed from other tokens";
      }
    }
  }

  void decide(const RequestRow& row) {
    decide::Window window = row.window;
    std::vector<int32_t> tokens(stride(row), row.blocks.mask_token);
    std::vector<decide::Pick> picks;
    for (uint32_t i = 0; i < row.head_count; ++i) {
      const int32_t at = head_rows[row.head_begin + i];
      const int32_t r = at == kCarriedRow ? -1 : at - static_cast<int32_t>(row.first_token);
      const int32_t masked = r + row.blocks.shift;
      EXPECT_EQ(input[row.first_token + static_cast<uint32_t>(masked)], row.blocks.mask_token);
      if (r < 0) {
        EXPECT_EQ(carried_[row.slot], row.context_len - 1) << "no row was carried over";
        ++carried_reads;
      }
      picks.push_back(script_(step_, row, row.context_len + masked));
    }
    if (row.window_offset >= 0) {
      const uint32_t first = row.first_token + static_cast<uint32_t>(row.window_offset);
      for (int i = 0; i < window.valid * row.blocks.block_size; ++i)
        tokens[i] = input[first + static_cast<uint32_t>(i)];
      decide::multi_block_step(row.blocks, window, tokens.data(), picks.data(), row.stored_blocks);
    } else if (row.token_count > 0) {
      ++window.forwards;
    }
    windows_.push_back(window);
    tokens_.insert(tokens_.end(), tokens.begin(), tokens.end());
    picks_.insert(picks_.end(), picks.begin(), picks.end());
  }

  int page_size_;
  bool prefix_full_;
  std::vector<std::vector<int32_t>> tables_;
  std::map<uint32_t, int32_t> carried_;  // slot -> position of the row that is kept
  std::map<uint32_t, std::vector<int32_t>> sequences_;
  std::map<int64_t, std::vector<int32_t>> shadow_;  // cache slot -> tokens its keys depend on
  Script script_;
  uint64_t step_ = 0;
  std::vector<decide::Window> windows_;
  std::vector<int32_t> tokens_;
  std::vector<decide::Pick> picks_;
};

}  // namespace diffulex::testing
