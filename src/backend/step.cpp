#include "backend/step.h"

#include <algorithm>
#include <cstring>
#include <string>

#include "base/error.h"
#include "decide/multi_block.h"

namespace diffulex {

namespace {

void require(bool holds, const char* what) {
  if (!holds) throw Error(DIFFULEX_E_INTERNAL, std::string("bad step plan: ") + what);
}

template <class T>
std::span<const T> view(const flatbuffers::Vector<T>* v) {
  return v == nullptr ? std::span<const T>() : std::span<const T>(v->data(), v->size());
}

// Masks that decide::accept_block will ask a pick for.
uint64_t picks_needed(const RequestRow& row, std::span<const int32_t> tokens) {
  const decide::MultiBlockParams& p = row.blocks;
  uint64_t count = 0;
  for (int i = 0; i < row.window.valid; ++i) {
    const decide::BlockState& b = row.window.blocks[i];
    if (b.status != decide::kActive) continue;
    const int end = decide::counted_positions(p, row.window, i);
    for (int offset = b.editable_start; offset < end; ++offset)
      count += tokens[static_cast<ptrdiff_t>(i) * p.block_size + offset] == p.mask_token ? 1 : 0;
  }
  return count;
}

}  // namespace

Step::Step(const ArchSpec& arch, const BackendConfig& config, int32_t item_rows)
    : config_(config),
      vocabulary_(arch.vocab_size),
      max_positions_(int64_t{config.max_pages_per_request} * config.page_size + config.max_tokens),
      item_rows_(item_rows) {
  const size_t requests_size = static_cast<size_t>(config.max_requests);
  const size_t rows = static_cast<size_t>(config.max_tokens);
  rows_.resize(requests_size);
  row_request.reserve(rows);
  items.reserve(rows / static_cast<size_t>(item_rows_) + requests_size);
  head.reserve(static_cast<size_t>(config.max_head_rows));
  head_source.reserve(static_cast<size_t>(config.max_head_rows));
  tables_.assign(requests_size * static_cast<size_t>(config.max_pages_per_request), -1);
  carried_at_.assign(requests_size, -1);
  carried.reserve(requests_size);
  own_tokens_.resize(rows);
  own_head_rows_.resize(static_cast<size_t>(config.max_head_rows));
}

uint64_t Step::bytes() const {
  return rows_.size() * sizeof(RequestRow) + row_request.capacity() * sizeof(int32_t) +
         items.capacity() * sizeof(AttentionItem) + head.capacity() * sizeof(HeadRow) +
         head_source.capacity() * sizeof(int32_t) +
         (tables_.size() + carried_at_.size() + own_tokens_.size() + own_head_rows_.size()) *
             sizeof(int32_t) +
         carried.capacity() * sizeof(CarriedRow) +
         adjustments_.capacity() * sizeof(decide::LogitAdjust);
}

void Step::load(const wire::StepPlan& plan) {
  const std::span<const uint8_t> raw = view(plan.requests());
  require(raw.size() % sizeof(RequestRow) == 0, "requests have a broken size");
  const size_t count = raw.size() / sizeof(RequestRow);
  require(count <= static_cast<size_t>(config_.max_requests), "too many requests");
  std::memcpy(rows_.data(), raw.data(), raw.size());  // the message may be less aligned than a row
  requests = {rows_.data(), count};
  tokens = view(plan.tokens());
  head_rows = view(plan.head_rows());
  pages = view(plan.pages());
  const std::span<const uint8_t> adjust = view(plan.adjustments());
  require(adjust.size() % sizeof(decide::LogitAdjust) == 0, "adjustments have a broken size");
  adjustments_.resize(adjust.size() / sizeof(decide::LogitAdjust));
  if (!adjust.empty()) std::memcpy(adjustments_.data(), adjust.data(), adjust.size());
  require(tokens.size() <= static_cast<size_t>(config_.max_tokens), "too many rows");
  require(head_rows.size() <= static_cast<size_t>(config_.max_head_rows), "too many head rows");
  for (const int32_t token : tokens)
    require(token >= 0 && token < vocabulary_, "a token is outside of the vocabulary");

  uint64_t next_token = 0, next_head = 0;
  for (size_t i = 0; i < requests.size(); ++i) {
    check_request(requests[i], i, next_token, next_head);
    next_token += requests[i].token_count;
    next_head += requests[i].head_count;
  }
  require(next_token == tokens.size(), "rows without a request");
  require(next_head == head_rows.size(), "head rows without a request");

  for (const RequestRow& row : requests) {
    int32_t* const table =
        tables_.data() + size_t{row.slot} * static_cast<size_t>(config_.max_pages_per_request);
    std::copy_n(pages.begin() + row.page_begin, row.page_count, table + row.table_offset);
  }
  spell_out();
}

void Step::follow(std::span<const decide::Window> windows, std::span<const int32_t> window_tokens) {
  const size_t stride = static_cast<size_t>(config_.window_stride);
  uint32_t next_token = 0, next_head = 0;
  for (size_t i = 0; i < requests.size(); ++i) {
    RequestRow& row = rows_[i];
    require(row.window_offset <= 0 && row.adjust_count == 0, "a step that nothing can follow");
    row.window = windows[i];
    diffulex::follow(row);
    row.first_token = next_token;
    row.head_begin = next_head;
    const int32_t* const window = window_tokens.data() + i * stride;
    require(row.token_count <= own_tokens_.size() - next_token &&
                row.head_count <= own_head_rows_.size() - next_head,
            "more rows than a step has");
    std::copy_n(window, row.token_count, own_tokens_.data() + next_token);
    const int32_t heads = write_head_rows(row, window, own_head_rows_.data() + next_head);
    require(static_cast<uint32_t>(heads) == row.head_count, "masks that were not counted");
    next_token += row.token_count;
    next_head += row.head_count;
  }
  tokens = std::span(own_tokens_).first(next_token);
  head_rows = std::span(own_head_rows_).first(next_head);
  pages = {};
  spell_out();
}

// Fills what is derived from the requests.
void Step::spell_out() {
  row_request.clear();
  items.clear();
  head.clear();
  head_source.clear();
  carried.clear();
  for (size_t i = 0; i < requests.size(); ++i) {
    const RequestRow& row = requests[i];
    if (row.carry_row >= 0)
      carried.push_back({static_cast<int32_t>(row.first_token) + row.carry_row,
                         static_cast<int32_t>(row.slot), row.context_len + row.carry_row});
    const int32_t count = static_cast<int32_t>(row.token_count);
    for (int32_t first = 0; first < count; first += item_rows_)
      items.push_back({static_cast<int32_t>(i), first, std::min(item_rows_, count - first)});
    row_request.insert(row_request.end(), row.token_count, static_cast<int32_t>(i));
    add_heads(row);
  }
}

void Step::add_heads(const RequestRow& row) {
  const std::span<const decide::LogitAdjust> adjust =
      std::span(adjustments_).subspan(row.adjust_begin, row.adjust_count);
  for (uint32_t h = 0; h < row.head_count; ++h) {
    const int32_t r = head_rows[row.head_begin + h];
    const int32_t in_request = r == kCarriedRow ? -1 : r - static_cast<int32_t>(row.first_token);
    head.push_back({row.sampler, row.context_len + in_request + row.blocks.shift,
                    row.window.denoise_forwards, row.blocks.mask_token, adjust});
    head_source.push_back(r == kCarriedRow ? ~static_cast<int32_t>(row.slot) : r);
  }
}

void Step::keep_carried() {
  for (const CarriedRow& c : carried) carried_at_[static_cast<size_t>(c.slot)] = c.position;
}

void Step::check_request(const RequestRow& row, size_t index, uint64_t next_token,
                         uint64_t next_head) const {
  require(row.slot < static_cast<uint32_t>(config_.max_requests), "slot");
  for (size_t i = 0; i < index; ++i)
    require(requests[i].slot != row.slot, "two requests with one slot");
  require(row.first_token == next_token && row.token_count <= tokens.size() - next_token,
          "rows of a request");
  require(row.context_len >= 0 && int64_t{row.context_len} + row.token_count <= max_positions_,
          "context length");
  require(row.store_len >= 0 && static_cast<uint32_t>(row.store_len) <= row.token_count,
          "store length");
  require(row.attention.mode >= decide::kBlockCausal && row.attention.mode <= decide::kUnmasked,
          "mask mode");
  require(row.attention.granularity > 0 && row.attention.prompt_len >= 0 &&
              row.attention.padded_len >= 0,
          "attention rule");
  require(row.carry_row >= -1 && row.carry_row < static_cast<int64_t>(row.token_count) &&
              (row.carry_row < 0 || config_.carry_rows),
          "carried row");
  check_heads(row, next_head);
  check_adjustments(row);
  check_pages(row);
  if (row.window_offset >= 0) check_window(row);
}

void Step::check_heads(const RequestRow& row, uint64_t next_head) const {
  require(row.head_begin == next_head && row.head_count <= head_rows.size() - next_head,
          "head rows of a request");
  require(row.blocks.shift == 0 || row.blocks.shift == 1, "shift");
  int64_t last = int64_t{row.first_token} - 1;
  for (uint32_t h = 0; h < row.head_count; ++h) {
    const int64_t r = head_rows[row.head_begin + h];
    if (h == 0 && r == kCarriedRow) {
      // A slot's row is read or replaced in a step, not both.
      require(row.blocks.shift == 1 && row.carry_row < 0 && row.context_len > 0 &&
                  carried_at_[row.slot] == row.context_len - 1,
              "no row was carried over");
      continue;
    }
    require(r > last && r < int64_t{row.first_token} + row.token_count, "a head row");
    last = r;
  }
}

void Step::check_adjustments(const RequestRow& row) const {
  require(row.adjust_begin <= adjustments_.size() &&
              row.adjust_count <= adjustments_.size() - row.adjust_begin,
          "adjustments");
  int32_t last = -1;
  for (uint32_t i = 0; i < row.adjust_count; ++i) {
    const decide::LogitAdjust& a = adjustments_[row.adjust_begin + i];
    require(a.token > last && a.token < vocabulary_ && a.penalty > 0, "an adjustment");
    last = a.token;
  }
}

void Step::check_pages(const RequestRow& row) const {
  require(row.page_begin <= pages.size() && row.page_count <= pages.size() - row.page_begin,
          "pages");
  const uint32_t limit = static_cast<uint32_t>(config_.max_pages_per_request);
  require(row.table_offset <= limit && row.page_count <= limit - row.table_offset, "page table");
  for (uint32_t i = 0; i < row.page_count; ++i) {
    const int32_t page = pages[row.page_begin + i];
    require(page >= 0 && page < config_.kv_pages, "a page");
  }
  // Every position that is read from or written to the cache has a page.
  const int64_t end = row.context_len + row.store_len,
                used = (end + config_.page_size - 1) / config_.page_size;
  require(used <= limit, "more positions than pages");
  const int32_t* const table = tables_.data() + size_t{row.slot} * limit;
  for (int64_t i = 0; i < used; ++i) {
    const bool fresh = i >= row.table_offset && i < int64_t{row.table_offset} + row.page_count;
    require(fresh || table[i] >= 0, "a position without a page");
  }
}

void Step::check_window(const RequestRow& row) const {
  const decide::MultiBlockParams& p = row.blocks;
  const decide::Window& w = row.window;
  require(p.block_size > 0 && p.buffer_blocks > 0 && p.buffer_blocks <= decide::kMaxBufferBlocks,
          "block geometry");
  require(int64_t{p.block_size} * p.buffer_blocks <= config_.window_stride, "window size");
  require(p.stop_count >= 0 && p.stop_count <= decide::kMaxStopTokens, "stop tokens");
  require(w.valid >= 0 && w.valid <= p.buffer_blocks, "blocks in the window");
  require(row.stored_blocks >= 0 && row.stored_blocks <= w.valid, "stored blocks");
  const int64_t count = int64_t{w.valid} * p.block_size;
  require(row.window_offset + count <= int64_t{row.token_count}, "window rows");
  const auto window_tokens = tokens.subspan(
      row.first_token + static_cast<uint32_t>(row.window_offset), static_cast<size_t>(count));
  require(picks_needed(row, window_tokens) <= row.head_count, "masks without a head row");
}

}  // namespace diffulex
