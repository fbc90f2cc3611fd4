// Level 1: one request's blocks, tokens and progress.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "backend/plan.h"
#include "cache/kv_cache_manager.h"
#include "decide/chain.h"
#include "engine/logit_adjustments.h"

namespace diffulex {

struct RequestRecord;  // what other threads read, engine/request_record.h

// What a caller asked for, checked and in the library's own types.
struct RequestSpec {
  std::vector<int32_t> prompt;
  decide::SamplerParams sampler{};
  decide::MultiBlockParams blocks{};
  int32_t limit = 0;         // no output at or behind this position
  int32_t limit_reason = 0;  // decide::kMaxTokens or kContext
  int32_t max_forwards = 0;  // 0 = no limit
  int32_t priority = 0;      // higher is served earlier
  uint64_t deadline_ns = 0;  // monotonic clock; 0 = none
  uint64_t user_tag = 0;
  std::string cache_salt;
  std::vector<std::string> stop_strings;        // none is empty
  std::vector<decide::LogitAdjust> logit_bias;  // by token, ascending, each token once
  bool track_slots = false;
  bool use_cache = true;
};

enum class Phase : uint8_t {
  kWaiting,  // in the queue, owns no pages
  kRunning,  // owns pages and a resident row
  kFinished,
};

// Not thread-safe: the engine's owner thread only.
class Request {
 public:
  Request(uint64_t id, RequestSpec spec, std::shared_ptr<RequestRecord> record);
  virtual ~Request() = default;
  Request(const Request&) = delete;
  Request& operator=(const Request&) = delete;

  const uint64_t id;
  const RequestSpec spec;
  const std::shared_ptr<RequestRecord> record;

  Phase phase = Phase::kWaiting;
  bool preempted = false;     // waits because it was preempted
  bool whole_prompt = false;  // its prompt must be computed in one forward
  int64_t rank = 0;   // place in every order of service: lower first, set once by the Scheduler
  int32_t slot = -1;  // resident row of the backend while running
  int32_t sent_pages = 0;  // leading entries of its page table that the backend knows
  int32_t cached = 0;      // positions [0, cached) are readable from pages
  decide::Window window{};
  decide::AttentionRule attention{};
  PageTable pages;
  LogitAdjustments adjustments;

  // Counters of diffulex_request_info.
  int32_t prefix_hits = 0;  // prompt positions that the prefix cache supplied at the last admission
  uint32_t preemptions = 0;
  uint64_t forwarded_rows = 0;

  // The prompt, what was committed and the window's blocks, masks included.
  std::span<int32_t> tokens() { return tokens_; }
  std::span<const int32_t> tokens() const { return tokens_; }
  std::span<int32_t> window_tokens() {
    return std::span(tokens_).subspan(static_cast<size_t>(window.left), window_size());
  }
  int32_t block_size() const { return spec.blocks.block_size; }
  size_t window_size() const {
    return static_cast<size_t>(spec.blocks.buffer_blocks) * static_cast<size_t>(block_size());
  }

  int32_t prompt_end() const {  // of the blocks that hold nothing but prompt
    return window.prompt_len / block_size() * block_size();
  }
  bool prefilled() const { return cached == window.left; }
  // Leading window blocks that the next forward stores.
  int32_t to_cache_blocks() const { return decide::to_cache_blocks(window); }
  int32_t head_rows() const { return decide::masks_to_fill(window); }
  // Its steps need nothing of the host: no list of logits to change, no candidates to sort.
  bool decides_alone() const;

  // Brings `adjustments` up to date before a step that reads logits.
  void update_adjustments() {
    adjustments.update(tokens_, static_cast<size_t>(window.left), spec.blocks.mask_token);
  }
  // Takes over what a step decided. stored: rows of the forward that were written to the cache.
  virtual void apply(const decide::Window& after, std::span<const int32_t> tokens_after,
                     int32_t stored);
  // Ends the request between two steps: keeps what is filled without a gap. A stop token in there
  // goes before the reason.
  void cut_short(decide::FinishReason reason);
  // Drops everything that lives in pages; blocks and tokens stay as they are, so nothing is decided
  // twice.
  void drop_cache();

 private:
  std::vector<int32_t> tokens_;  // [window.left + window_size()], capacity for the longest output
};

}  // namespace diffulex
