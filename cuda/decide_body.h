// What a step decides for one request, as host and device both run it: open, select, draw, accept,
// commit, move.
#pragma once

#include "cuda/decide_kernel.h"
#include "decide/multi_block.h"
#include "decide/philox.h"
#include "decide/visibility.h"

namespace diffulex::cuda {

DIFFULEX_HD inline void decide_one(const DecideBatch& b, int i) {
  const decide::MultiBlockParams& p = b.params[i];
  decide::Window& w = b.windows[i];
  int32_t* tokens = b.tokens + i * b.stride;
  decide::Pick* picks = b.picks + i * b.stride;
  b.ranges[i] = decide::visible_keys(b.rules[i], w.left, w.left, w.left + b.stride, 0);
  b.draws[i] = decide::uniform(decide::row_draw(b.samplers[i], w.left, w.denoise_forwards, 0).v[2]);
  decide::open_block(p, w, true);
  int stored = 0, n = 0;
  while (stored < w.valid && w.blocks[stored].status == decide::kToCache) ++stored;
  for (int slot = 0; slot < w.valid; ++slot) {
    if (w.blocks[slot].status != decide::kActive) continue;
    const int end = decide::counted_positions(p, w, slot);
    for (int offset = w.blocks[slot].editable_start; offset < end; ++offset) {
      const int at = slot * p.block_size + offset;
      if (tokens[at] != p.mask_token) continue;
      const decide::TilePartial* row =
          b.partials + (static_cast<long>(i) * b.stride + at) * b.tiles;
      picks[n++] =
          decide::pick_from_tiles(row, b.tiles, b.samplers[i], w.left + at, w.denoise_forwards);
    }
  }
  decide::multi_block_step(p, w, tokens, picks, stored);
}

}  // namespace diffulex::cuda
