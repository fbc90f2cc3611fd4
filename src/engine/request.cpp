#include "engine/request.h"

#include <algorithm>

#include "decide/multi_block.h"
#include "decide/select.h"

namespace diffulex {

Request::Request(uint64_t id_, RequestSpec spec_, std::shared_ptr<RequestRecord> record_)
    : id(id_),
      spec(std::move(spec_)),
      record(std::move(record_)),
      adjustments(spec.logit_bias, spec.sampler.repetition_penalty,
                  static_cast<size_t>(spec.limit + block_size()), window_size()) {
  const int32_t b = block_size();
  const auto prompt_len = static_cast<int32_t>(spec.prompt.size());
  const int32_t tail = prompt_len % b;  // prompt tokens in a block that also holds output
  window.left = prompt_len - tail;
  window.prompt_len = prompt_len;
  window.limit = spec.limit;
  window.limit_reason = spec.limit_reason;
  window.max_forwards = spec.max_forwards;
  window.first_stop = -1;
  window.stop_index = -1;
  window.committed_end = prompt_len;
  for (int i = 0; i < spec.blocks.buffer_blocks; ++i)
    window.blocks[i].masks =
        static_cast<uint16_t>(decide::counted_positions(spec.blocks, window, i));
  if (tail > 0) {
    window.valid = 1;
    window.blocks[0].status = decide::kActive;
    window.blocks[0].editable_start = static_cast<uint16_t>(tail);
    window.blocks[0].masks = static_cast<uint16_t>(window.blocks[0].masks - tail);
  }

  const size_t longest = static_cast<size_t>(spec.limit + b) + window_size();
  tokens_.reserve(std::max(longest, static_cast<size_t>(window.left) + window_size()));
  tokens_ = spec.prompt;
  tokens_.resize(static_cast<size_t>(window.left) + window_size(), spec.blocks.mask_token);
}

bool Request::decides_alone() const {
  return spec.logit_bias.empty() && spec.sampler.repetition_penalty == 1 &&
         !decide::truncates(spec.sampler);
}

void Request::apply(const decide::Window& after, std::span<const int32_t> tokens_after,
                    int32_t stored) {
  const int32_t moved = after.left - window.left;
  cached += stored;
  if (moved > 0) {
    // The stored blocks keep the tokens they had; the moved window ends in fresh masks.
    tokens_.resize(static_cast<size_t>(after.left) + window_size(), spec.blocks.mask_token);
  }
  window = after;
  std::copy(tokens_after.begin(), tokens_after.end(), tokens_.begin() + window.left);
}

void Request::cut_short(decide::FinishReason reason) {
  window.finish = reason;
  decide::commit_filled_prefix(spec.blocks, window, window_tokens().data());
}

void Request::drop_cache() {
  cached = 0;
  sent_pages = 0;
  slot = -1;
}

}  // namespace diffulex
