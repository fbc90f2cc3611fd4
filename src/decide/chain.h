// What a forward computes of a window, once everything below the window is in the cache: the
// scheduler of the host and a backend that runs several steps in a row ask the same functions.
#pragma once

#include "decide/multi_block.h"

namespace diffulex::decide {

// A window's part in a forward.
struct WindowPart {
  int32_t rows = 0;           // of its valid blocks
  int32_t stored_blocks = 0;  // leading ones whose keys and values the forward stores
  bool opened = false;        // the forward is the first of its last block
};

// Leading blocks of a window that the next forward stores.
DIFFULEX_HD inline int32_t to_cache_blocks(const Window& w) {
  int32_t n = 0;
  while (n < w.valid && w.blocks[n].status == kToCache) ++n;
  return n;
}

// Masks that the sampler chooses tokens for.
DIFFULEX_HD inline int32_t masks_to_fill(const Window& w) {
  int32_t masks = 0;
  for (int i = 0; i < w.valid; ++i)
    if (w.blocks[i].status == kActive) masks += w.blocks[i].masks;
  return masks;
}

// Readies a window for a forward that covers it. prefix_cached: as open_block has it.
DIFFULEX_HD inline WindowPart enter_forward(const MultiBlockParams& p, Window& w,
                                            bool prefix_cached) {
  WindowPart part;
  part.opened = open_block(p, w, prefix_cached);
  part.rows = w.valid * p.block_size;
  part.stored_blocks = to_cache_blocks(w);
  return part;
}

// Offsets of block `slot` where masks may be that the sampler chooses tokens for.
struct Offsets {
  int32_t begin, end;
};
DIFFULEX_HD inline Offsets sampled_offsets(const MultiBlockParams& p, const Window& w, int slot) {
  if (w.blocks[slot].status != kActive) return {0, 0};
  return {w.blocks[slot].editable_start, counted_positions(p, w, slot)};
}

// Positions that the forward `steps` behind one with this window may have stored by its end, at
// most: a block is denoised in one forward at least before another one stores it, and the block
// that reaches the limit ends the request before it is stored.
DIFFULEX_HD inline int32_t stored_bound(const MultiBlockParams& p, const Window& w, int32_t steps) {
  const int32_t opened = w.valid + (steps > 0 ? steps - 1 : 0);
  const int64_t end = w.left + static_cast<int64_t>(opened) * p.block_size;
  const int32_t last = (w.limit - 1) / p.block_size * p.block_size;
  return end < last ? static_cast<int32_t>(end) : last;
}

// Blocks of the window that a forward up to `steps` behind may cover, at most.
DIFFULEX_HD inline int32_t blocks_bound(const MultiBlockParams& p, const Window& w, int32_t steps) {
  return w.valid + steps < p.buffer_blocks ? w.valid + steps : p.buffer_blocks;
}

}  // namespace diffulex::decide
