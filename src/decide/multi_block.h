// The decisions of strategies that decode with a rolling buffer of fixed-size blocks: when a block
// opens, which tokens are accepted, when a block is final, when the window moves and when the
// request ends.
#pragma once

#include "decide/state.h"

namespace diffulex::decide {

// Positions of block `slot` that count: those below the output limit.
DIFFULEX_HD inline int counted_positions(const MultiBlockParams& p, const Window& w, int slot) {
  const int32_t start = w.left + slot * p.block_size;
  const int32_t room = w.limit - start;
  return room >= p.block_size ? p.block_size : (room > 0 ? room : 0);
}

// Filled positions of a block, prompt tokens included; positions behind the limit count as filled.
DIFFULEX_HD inline int filled(const MultiBlockParams& p, const BlockState& b) {
  return p.block_size - b.masks;
}

// Before a forward: ages the ACTIVE blocks and opens at most one DUMMY. prefix_cached: every
// position below the window is readable from the cache (no prefill is left to do before this
// forward). Returns true when a block was opened.
DIFFULEX_HD inline bool open_block(const MultiBlockParams& p, Window& w, bool prefix_cached) {
  bool any_active = false;
  for (int i = 0; i < w.valid; ++i) {
    if (w.blocks[i].status != kActive) continue;
    any_active = true;
    ++w.blocks[i].steps;
  }
  if (w.valid >= p.buffer_blocks || w.first_stop >= 0) return false;
  if (w.left + w.valid * p.block_size >= w.limit) return false;
  const bool behind_progress = w.valid > 0 && filled(p, w.blocks[w.valid - 1]) >= p.add_block_fill;
  const bool at_the_head = w.valid == 0 && !any_active && prefix_cached;
  if (!behind_progress && !at_the_head) return false;
  w.blocks[w.valid++].status = kActive;
  return true;
}

// Takes open_block back, for a forward that did not happen.
DIFFULEX_HD inline void close_block(Window& w, bool opened) {
  if (opened) w.blocks[--w.valid].status = kDummy;
  for (int i = 0; i < w.valid; ++i)
    if (w.blocks[i].status == kActive) --w.blocks[i].steps;
}

DIFFULEX_HD inline int stop_token_index(const MultiBlockParams& p, int32_t token) {
  for (int i = 0; i < p.stop_count; ++i)
    if (p.stop_tokens[i] == token) return i;
  return -1;
}

// Writes `token` at offset `offset` of block `slot`. tokens: the window's, [buffer_blocks *
// block_size].
DIFFULEX_HD inline void write_token(const MultiBlockParams& p, Window& w, int32_t* tokens, int slot,
                                    int offset, int32_t token) {
  BlockState& b = w.blocks[slot];
  tokens[slot * p.block_size + offset] = token;
  b.commit_ready = 0;
  --b.masks;
  ++b.revealed;
  ++w.revealed;
  const int32_t position = w.left + slot * p.block_size + offset;
  const int stop = stop_token_index(p, token);
  if (stop >= 0 && (w.first_stop < 0 || position < w.first_stop)) {
    w.first_stop = position;
    w.stop_index = stop;
  }
}

// A mask-filling sampler's rule for one ACTIVE block: every mask whose confidence passes the
// threshold is filled; when none does and the gate is open, the one that ranks first is (ties:
// lowest position). picks: one per mask of the block, ascending. Returns the number of picks
// consumed; *fault is set when a row had no finite logit.
DIFFULEX_HD inline int accept_block(const MultiBlockParams& p, Window& w, int32_t* tokens, int slot,
                                    bool gate_open, const Pick* picks, bool* fault) {
  const BlockState& b = w.blocks[slot];
  const int end = counted_positions(p, w, slot);
  int n = 0, best = -1, best_offset = 0, accepted = 0;
  for (int offset = b.editable_start; offset < end; ++offset) {
    if (tokens[slot * p.block_size + offset] != p.mask_token) continue;
    const Pick& pick = picks[n];
    if (pick.token < 0) {
      *fault = true;
    } else {
      if (best < 0 || pick.rank > picks[best].rank) {
        best = n;
        best_offset = offset;
      }
      if (pick.confidence > p.accept_threshold) {
        write_token(p, w, tokens, slot, offset, pick.token);
        ++accepted;
      }
    }
    ++n;
  }
  if (accepted == 0 && best >= 0 && (gate_open || p.force_always != 0))
    write_token(p, w, tokens, slot, best_offset, picks[best].token);
  return n;
}

// Moves the window left edge over `count` blocks that are now in the cache and appends as many
// DUMMY blocks of masks.
DIFFULEX_HD inline void roll_window(const MultiBlockParams& p, Window& w, int32_t* tokens,
                                    int count) {
  if (count == 0) return;
  const int kept = p.buffer_blocks - count;
  for (int i = 0; i < kept; ++i) w.blocks[i] = w.blocks[i + count];
  for (int i = 0; i < kept * p.block_size; ++i) tokens[i] = tokens[i + count * p.block_size];
  for (int i = kept * p.block_size; i < p.buffer_blocks * p.block_size; ++i)
    tokens[i] = p.mask_token;
  w.left += count * p.block_size;
  w.valid -= count;
  for (int i = kept; i < p.buffer_blocks; ++i) w.blocks[i] = BlockState{};
  for (int i = 0; i < p.buffer_blocks; ++i)
    if (w.blocks[i].status == kDummy)
      w.blocks[i].masks = static_cast<uint16_t>(counted_positions(p, w, i));
}

// Cuts the output where a run of equal tokens gets too long; true when it did. Looks at the tokens
// that became final since `from`, each once, as far as the first stop token: what comes first
// decides.
DIFFULEX_HD inline bool end_at_repetition(const MultiBlockParams& p, Window& w,
                                          const int32_t* tokens, int32_t from) {
  if (p.max_repetition_run <= 0) return false;
  int32_t end = w.committed_end;
  if (w.first_stop >= 0 && w.first_stop < end) end = w.first_stop;
  for (int32_t position = from; position < end; ++position) {
    const int32_t token = tokens[position - w.left];
    w.run_length = w.run_length > 0 && token == w.run_token ? w.run_length + 1 : 1;
    w.run_token = token;
    if (w.run_length < p.max_repetition_run) continue;
    w.committed_end = position + 1;
    return true;
  }
  return false;
}

// A request that is cut short keeps what is filled without a gap, as far as the first stop token.
DIFFULEX_HD inline void commit_filled_prefix(const MultiBlockParams& p, Window& w,
                                             const int32_t* tokens) {
  int32_t end = w.left + w.valid * p.block_size;
  if (end > w.limit) end = w.limit;
  if (w.committed_end < w.left) w.committed_end = w.left;
  const int32_t from = w.committed_end;
  while (w.committed_end < end && tokens[w.committed_end - w.left] != p.mask_token) {
    ++w.committed_end;
    if (w.first_stop == w.committed_end - 1) {
      w.finish = w.stop_index < p.eos_count ? kEos : kStopToken;
      break;
    }
  }
  if (end_at_repetition(p, w, tokens, from)) w.finish = kRepetition;
}

// Marks final blocks, moves the window and ends the request when a reason to end is final.
// stored_blocks: leading blocks whose keys and values this forward has stored (TO_CACHE before it).
DIFFULEX_HD inline void advance(const MultiBlockParams& p, Window& w, int32_t* tokens,
                                int stored_blocks) {
  const int32_t from = w.committed_end;
  for (int i = 0; i < w.valid; ++i) {
    BlockState& b = w.blocks[i];
    if (i < stored_blocks) {
      b.status = kInCache;
      continue;
    }
    if (b.status != kActive) continue;
    if (b.masks == 0) b.commit_ready = 1;
    const bool predecessor_final = i == 0 || w.blocks[i - 1].status != kActive;
    if (b.masks != 0 || b.commit_ready == 0 || !predecessor_final) break;
    b.status = kToCache;
    const int32_t end = w.left + i * p.block_size + counted_positions(p, w, i);
    if (end > w.committed_end) w.committed_end = end;
  }
  if (end_at_repetition(p, w, tokens, from)) {
    w.finish = kRepetition;
  } else if (w.first_stop >= 0 &&
             w.first_stop < w.committed_end) {  // every earlier position is final too
    w.committed_end = w.first_stop + 1;
    w.finish = w.stop_index < p.eos_count ? kEos : kStopToken;
  } else if (w.committed_end >= w.limit) {
    w.finish = w.limit_reason;
  } else if (w.max_forwards > 0 && w.window_forwards >= w.max_forwards) {
    w.finish = kMaxSteps;
    commit_filled_prefix(p, w, tokens);
  }
  roll_window(p, w, tokens, stored_blocks);
}

// One step's decisions for a request whose forward covered the window: accept, commit, move, end.
// tokens: the window's [buffer_blocks * block_size]; picks: one per mask of its ACTIVE blocks, in
// position order.
DIFFULEX_HD inline void multi_block_step(const MultiBlockParams& p, Window& w, int32_t* tokens,
                                         const Pick* picks, int stored_blocks) {
  bool fault = false, any_active = false;
  bool gate_open = true;  // the block before slot 0 is final
  w.revealed = 0;
  for (int i = 0; i < w.valid; ++i) {
    BlockState& b = w.blocks[i];
    const bool next_gate = filled(p, b) >= p.semi_fill;  // on the state before this step's writes
    b.revealed = 0;
    if (b.status == kActive) {
      any_active = true;
      picks += accept_block(p, w, tokens, i, gate_open, picks, &fault);
    }
    gate_open = next_gate;
  }
  ++w.forwards;
  ++w.window_forwards;
  w.denoise_forwards += any_active ? 1 : 0;
  advance(p, w, tokens, stored_blocks);
  if (fault) w.finish = kSamplerFault;
}

}  // namespace diffulex::decide
