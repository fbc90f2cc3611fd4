#include "engine/publisher.h"

#include <algorithm>

#include "base/system.h"

namespace diffulex {
namespace {

// Positions of the canvas are indices of record.slots behind this one.
size_t slot_index(const RequestRecord& record, int32_t position) {
  return static_cast<size_t>(position) - record.first_position;
}

void extend_canvas(RequestRecord& record, const Request& request, int32_t end) {
  const auto b = static_cast<uint32_t>(request.block_size());
  while (record.first_position + record.slots.size() < static_cast<size_t>(end)) {
    diffulex_block block{};
    block.start = record.first_position + static_cast<uint32_t>(record.slots.size());
    block.index = block.start / b;
    block.length = b;
    record.blocks.push_back(block);
    record.slots.insert(record.slots.end(), b, diffulex_slot{-1, DIFFULEX_SLOT_EMPTY, 0, 0, 0, 0});
  }
}

// What the sampler saw, for slots that were empty before the step. Picks come in position order.
void score_slots(RequestRecord& record, const Request& request, const decide::Window& before,
                 std::span<const decide::Pick> picks) {
  const int32_t b = request.block_size();
  size_t next = 0;
  for (int i = 0; i < before.valid; ++i) {
    if (before.blocks[i].status != decide::kActive) continue;
    const int32_t start = before.left + i * b, end = std::min(start + b, before.limit);
    for (int32_t p = start + before.blocks[i].editable_start; p < end; ++p) {
      diffulex_slot& slot = record.slots[slot_index(record, p)];
      if (slot.token >= 0 || next == picks.size()) continue;
      slot.confidence = picks[next].confidence;
      slot.entropy = picks[next].entropy;
      ++next;
    }
  }
}

void write_slots(RequestRecord& record, const Request& request, int32_t begin, int32_t end) {
  const std::span<const int32_t> tokens = request.tokens();
  for (int32_t p = begin; p < end; ++p) {
    diffulex_slot& slot = record.slots[slot_index(record, p)];
    const bool prompt = p < request.window.prompt_len;
    const int32_t token = tokens[p] == request.spec.blocks.mask_token ? -1 : tokens[p];
    if (token != slot.token && !prompt) {
      slot.flags = static_cast<uint8_t>(DIFFULEX_SLOT_CHANGED |
                                        (slot.token < 0 ? DIFFULEX_SLOT_REVEALED : 0));
      ++slot.revisions;
    }
    if (prompt) slot.flags = DIFFULEX_SLOT_PROMPT;
    slot.token = token;
    slot.state = token < 0 ? DIFFULEX_SLOT_EMPTY : DIFFULEX_SLOT_TENTATIVE;
    if (p < request.window.committed_end) slot.state = DIFFULEX_SLOT_COMMITTED;
  }
}

diffulex_block_state state_of(const Request& request, int32_t start) {
  const decide::Window& w = request.window;
  if (start < w.left) return DIFFULEX_BLOCK_CACHED;
  const int32_t i = (start - w.left) / request.block_size();
  if (i >= w.valid) return DIFFULEX_BLOCK_PLANNED;
  const decide::BlockState& block = w.blocks[i];
  if (block.status == decide::kToCache) return DIFFULEX_BLOCK_COMMITTED;
  return block.masks == 0 ? DIFFULEX_BLOCK_FILLED : DIFFULEX_BLOCK_ACTIVE;
}

void write_block(RequestRecord& record, const Request& request, const decide::Window& before,
                 diffulex_block& block) {
  const int32_t b = request.block_size();
  const auto start = static_cast<int32_t>(block.start);
  block.state = state_of(request, start);
  const int32_t i = (start - before.left) / b;  // the window before the step has counted its steps
  if (start >= before.left && i < before.valid) block.steps = before.blocks[i].steps;
  const size_t first = slot_index(record, start);
  uint32_t filled = 0, changed = 0, scored = 0;
  float confidence = 0;
  for (size_t s = first; s < first + block.length; ++s) {
    diffulex_slot& slot = record.slots[s];
    filled += slot.token >= 0 ? 1 : 0;
    changed += (slot.flags & DIFFULEX_SLOT_CHANGED) != 0 ? 1 : 0;
    if (slot.confidence > 0) ++scored, confidence += slot.confidence;
    if (slot.state == DIFFULEX_SLOT_TENTATIVE && block.state != DIFFULEX_BLOCK_ACTIVE)
      slot.state = DIFFULEX_SLOT_SETTLED;
  }
  block.filled = filled;
  block.stable_ratio = 1.0f - static_cast<float>(changed) / static_cast<float>(block.length);
  block.mean_confidence = scored > 0 ? confidence / static_cast<float>(scored) : 0;
}

void write_canvas(RequestRecord& record, const Request& request, const decide::Window& before,
                  std::span<const decide::Pick> picks) {
  const int32_t b = request.block_size();
  const int32_t end =
      std::max(before.left + before.valid * b, request.window.left + request.window.valid * b);
  extend_canvas(record, request, end);
  const size_t stale = size_t{record.window_block} * static_cast<size_t>(b);
  for (size_t s = stale; s < record.slots.size(); ++s)
    record.slots[s].flags &= DIFFULEX_SLOT_PROMPT;
  if (record.track_slots) score_slots(record, request, before, picks);
  write_slots(record, request, before.left, end);
  const size_t first_block = slot_index(record, before.left) / static_cast<size_t>(b);
  for (size_t i = std::min<size_t>(record.window_block, first_block); i < record.blocks.size(); ++i)
    write_block(record, request, before, record.blocks[i]);
  record.window_block = static_cast<uint32_t>(first_block);
}

// Appends what is newly final to the output; returns how many tokens.
uint32_t write_output(RequestRecord& record, const Request& request) {
  const std::span<const int32_t> tokens = request.tokens();
  const auto prompt_len = static_cast<size_t>(request.window.prompt_len);
  const auto end = static_cast<size_t>(request.window.committed_end);
  const size_t known = prompt_len + record.output.size();
  if (end <= known) return 0;
  record.output.insert(record.output.end(), tokens.begin() + static_cast<ptrdiff_t>(known),
                       tokens.begin() + static_cast<ptrdiff_t>(end));
  return static_cast<uint32_t>(end - known);
}

void write_info(RequestRecord& record, const Request& request) {
  diffulex_request_info& info = record.info;
  const decide::Window& w = request.window;
  info.committed_len = static_cast<uint32_t>(record.output.size());
  const int32_t end = std::min(w.left + w.valid * request.block_size(), w.limit) - w.prompt_len;
  info.tentative_end = std::max(info.committed_len, static_cast<uint32_t>(std::max(end, 0)));
  info.steps = static_cast<uint32_t>(w.forwards);
  info.denoise_steps = static_cast<uint32_t>(w.denoise_forwards);
  info.forwarded_tokens = static_cast<uint32_t>(request.forwarded_rows);
  info.preemptions = request.preemptions;
  info.cached_len = static_cast<uint32_t>(request.prefix_hits);
  info.active_blocks = 0;
  for (int i = 0; i < w.valid; ++i)
    info.active_blocks += w.blocks[i].status == decide::kActive ? 1 : 0;
}

}  // namespace

void Publisher::prepare(RequestRecord& record, const RequestSpec& spec) {
  const auto b = static_cast<size_t>(spec.blocks.block_size);
  const size_t prompt_len = spec.prompt.size();
  const size_t first = prompt_len / b * b;
  const size_t longest =
      static_cast<size_t>(spec.limit) - first + (size_t(spec.blocks.buffer_blocks) + 1) * b;
  record.first_position = static_cast<uint32_t>(first);
  record.output.reserve(static_cast<size_t>(spec.limit) - prompt_len + b);
  record.slots.reserve(longest);
  record.blocks.reserve(longest / b + 1);
  record.track_slots = spec.track_slots;
  record.info.struct_size = sizeof(record.info);
  record.info.user_tag = spec.user_tag;
  record.info.prompt_len = static_cast<uint32_t>(prompt_len);
  record.info.stop_index = -1;
  record.info.queued_ns = monotonic_ns();
}

void Publisher::tell(const Request& request, diffulex_event_type kinds, uint32_t delta,
                     uint64_t step) {
  diffulex_event event{};
  {
    const std::lock_guard lock(request.record->mutex);
    const diffulex_request_info& info = request.record->info;
    event.committed_len = info.committed_len;
    event.tentative_end = info.tentative_end;
    event.finish = info.finish;
    event.status = info.status;
  }
  event.type = kinds;
  event.request = request.id;
  event.user_tag = request.spec.user_tag;
  event.step = step;
  event.time_ns = monotonic_ns();
  event.committed_delta = delta;
  event.block_index = (static_cast<uint32_t>(request.window.prompt_len) + event.committed_len) /
                      static_cast<uint32_t>(request.block_size());
  events_.push(request.record, event);
}

void Publisher::publish_admitted(const Request& request, uint64_t step) {
  bool first = false;
  {
    const std::lock_guard lock(request.record->mutex);
    diffulex_request_info& info = request.record->info;
    first = info.prefill_ns == 0;
    if (first) info.prefill_ns = monotonic_ns();
    info.state = request.prefilled() ? DIFFULEX_REQ_DECODE : DIFFULEX_REQ_PREFILL;
    info.cached_len = static_cast<uint32_t>(request.prefix_hits);
  }
  {
    const std::lock_guard lock(mutex_);
    stats_.cached_tokens += static_cast<uint64_t>(request.prefix_hits);
  }
  if (first) tell(request, DIFFULEX_EVENT_STARTED, 0, step);
}

void Publisher::publish_preempted(const Request& request, uint64_t step) {
  {
    const std::lock_guard lock(request.record->mutex);
    request.record->info.state = DIFFULEX_REQ_PREEMPTED;
    request.record->info.preemptions = request.preemptions;
  }
  {
    const std::lock_guard lock(mutex_);
    ++stats_.preemptions;
  }
  tell(request, DIFFULEX_EVENT_PREEMPTED, 0, step);
}

void Publisher::publish_step(const Request& request, const decide::Window& before,
                             std::span<const decide::Pick> picks, uint64_t step) {
  uint32_t delta = 0;
  const bool window_ran = request.window.denoise_forwards != before.denoise_forwards ||
                          request.window.left != before.left;
  {
    RequestRecord& record = *request.record;
    const std::lock_guard lock(record.mutex);
    record.step = step;
    record.info.state = request.prefilled() ? DIFFULEX_REQ_DECODE : DIFFULEX_REQ_PREFILL;
    if (window_ran) {
      write_canvas(record, request, before, picks);
      delta = write_output(record, request);
      if (delta > 0 && record.info.first_commit_ns == 0)
        record.info.first_commit_ns = monotonic_ns();
    }
    write_info(record, request);
  }
  {
    const std::lock_guard lock(mutex_);
    stats_.committed_tokens += delta;
    stats_.revealed_slots += window_ran ? static_cast<uint64_t>(request.window.revealed) : 0;
  }
  const bool revised = window_ran && request.window.revealed > 0;
  const auto kinds =
      (delta > 0 ? DIFFULEX_EVENT_COMMIT : 0) | (revised ? DIFFULEX_EVENT_REVISION : 0);
  if (kinds != 0) tell(request, kinds, delta, step);
}

void Publisher::publish_cut(const Request& request, const decide::Window& before, uint64_t step) {
  uint32_t delta = 0;
  {
    RequestRecord& record = *request.record;
    const std::lock_guard lock(record.mutex);
    write_canvas(record, request, before, {});
    delta = write_output(record, request);
    if (delta > 0 && record.info.first_commit_ns == 0) record.info.first_commit_ns = monotonic_ns();
    write_info(record, request);
  }
  {
    const std::lock_guard lock(mutex_);
    stats_.committed_tokens += delta;
  }
  if (delta > 0) tell(request, DIFFULEX_EVENT_COMMIT, delta, step);
}

void Publisher::publish_finished(const Request& request, diffulex_finish finish,
                                 diffulex_status status, uint64_t step) {
  {
    RequestRecord& record = *request.record;
    const std::lock_guard lock(record.mutex);
    diffulex_request_info& info = record.info;
    info.state = DIFFULEX_REQ_FINISHED;
    info.finish = finish;
    info.status = status;
    info.tentative_end = info.committed_len;
    info.active_blocks = 0;
    if (finish != DIFFULEX_FINISH_STOP_STRING) record.text_end = SIZE_MAX;
    info.end_ns = monotonic_ns();
    if (finish == DIFFULEX_FINISH_EOS || finish == DIFFULEX_FINISH_STOP_TOKEN ||
        finish == DIFFULEX_FINISH_STOP_STRING)
      info.stop_index = static_cast<int32_t>(info.committed_len) - 1;
  }
  {
    const std::lock_guard lock(mutex_);
    ++stats_.finished;
    stats_.aborted += finish == DIFFULEX_FINISH_ABORTED ? 1 : 0;
    stats_.failed += finish == DIFFULEX_FINISH_ERROR ? 1 : 0;
  }
  tell(request, DIFFULEX_EVENT_FINISHED, 0, step);
}

void Publisher::publish_engine(const Scheduler& scheduler, const KvCacheManager& cache,
                               const diffulex_step_stats& step) {
  const std::lock_guard lock(mutex_);
  stats_.queued = static_cast<uint32_t>(scheduler.waiting_count());
  stats_.running = static_cast<uint32_t>(scheduler.running_count());
  stats_.preempted = static_cast<uint32_t>(scheduler.preempted_count());
  stats_.kv_pages_total = static_cast<uint32_t>(cache.total_pages());
  stats_.kv_pages_free = static_cast<uint32_t>(cache.free_pages());
  stats_.kv_pages_cached = static_cast<uint32_t>(cache.cached_pages());
  stats_.kv_pages_pinned = static_cast<uint32_t>(cache.pinned_pages());
  stats_.kv_pages_stored = cache.counters().stored;
  stats_.kv_pages_evicted = cache.counters().evicted;
  stats_.kv_pages_reused = cache.counters().reused;
  if (step.rows == 0) return;
  ++stats_.steps;
  stats_.forwarded_tokens += step.rows;
  stats_.prefill_tokens += step.prefill_tokens;
  stats_.busy_ns += step.duration_ns;
}

diffulex_engine_stats Publisher::stats() const {
  const std::lock_guard lock(mutex_);
  diffulex_engine_stats stats = stats_;
  stats.struct_size = sizeof(stats);
  return stats;
}

}  // namespace diffulex
