// From logits to a token. The head reduces its logits tile by tile to TilePartials; these functions
// put a row together again, so that no row of logits is ever stored. A tile is kTileIds consecutive
// ids; sums run in tile order on every device.
#pragma once

#include <math.h>

#include "decide/philox.h"
#include "decide/state.h"

namespace diffulex::decide {

inline constexpr int kTileIds =
    512;  // also the unit of random draws, so that draws do not depend on the backend

// One row over one tile. With a temperature T > 0 the logits are l / T. Ids that may not be chosen
// and logits that are not finite count as -inf; an empty tile has max = -inf and sum = 0.
struct TilePartial {
  float max;
  int32_t argmax;   // ties: the highest id
  float sum;        // of exp(l - max)
  float weighted;   // of exp(l - max) * (l - max), for the entropy
  int32_t sampled;  // drawn within the tile, T > 0
  float sampled_logit;
};

// A token that top-k, top-p or min-p may keep.
struct Candidate {
  float logit;
  int32_t token;
};

DIFFULEX_HD inline bool before(const Candidate& a,
                               const Candidate& b) {  // the more probable first, then the higher id
  return a.logit > b.logit || (a.logit == b.logit && a.token > b.token);
}

DIFFULEX_HD inline Philox4 row_draw(const SamplerParams& s, int32_t position, int32_t step,
                                    int32_t tile) {
  return philox(s.seed, static_cast<uint32_t>(position), static_cast<uint32_t>(step),
                static_cast<uint32_t>(tile), 0);
}

struct RowSums {
  float max;
  float sum;       // of exp(l - max) over the row
  float weighted;  // of exp(l - max) * (l - max)
  int32_t argmax;
};

DIFFULEX_HD inline RowSums sum_tiles(const TilePartial* tiles, int count) {
  RowSums row{-INFINITY, 0, 0, -1};
  for (int t = 0; t < count; ++t)
    if (tiles[t].sum > 0 && tiles[t].max >= row.max) {
      row.max = tiles[t].max;
      row.argmax = tiles[t].argmax;
    }
  for (int t = 0; t < count; ++t) {
    if (!(tiles[t].sum > 0)) continue;
    const float below = tiles[t].max - row.max, scale = expf(below);
    row.sum += tiles[t].sum * scale;
    row.weighted += scale * (tiles[t].weighted + below * tiles[t].sum);
  }
  return row;
}

DIFFULEX_HD inline float entropy_of(const RowSums& row, uint32_t flags) {
  return (flags & kWantEntropy) != 0 && row.sum > 0 ? logf(row.sum) - row.weighted / row.sum : 0.0f;
}

// Greedy, and T > 0 without top-k, top-p and min-p: an exact draw by weighted reservoir over the
// tiles, one decision per tile.
DIFFULEX_HD inline Pick pick_from_tiles(const TilePartial* tiles, int count, const SamplerParams& s,
                                        int32_t position, int32_t step) {
  const RowSums row = sum_tiles(tiles, count);
  if (row.argmax < 0) return Pick{-1, 0, 0};
  if (s.temperature <= 0) return Pick{row.argmax, 1.0f / row.sum, entropy_of(row, s.flags)};
  float seen = 0, logit = row.max;
  int32_t token = row.argmax;
  for (int t = 0; t < count; ++t) {
    if (!(tiles[t].sum > 0)) continue;
    const float mass = tiles[t].sum * expf(tiles[t].max - row.max);
    seen += mass;
    if (mass > 0 && uniform(row_draw(s, position, step, t).v[1]) * seen < mass) {
      token = tiles[t].sampled;
      logit = tiles[t].sampled_logit;
    }
  }
  return Pick{token, expf(logit - row.max) / row.sum, entropy_of(row, s.flags)};
}

// How many of the sorted candidates min-p, top-p and top-k keep. Returns -1 when the candidates end
// before the rule does, and there are more ids than candidates.
DIFFULEX_HD inline int kept_candidates(const Candidate* sorted, int count, bool complete,
                                       const RowSums& row, const SamplerParams& s) {
  const int k = s.top_k > 0 ? s.top_k : 0x7fffffff;
  float cumulative = 0;
  for (int i = 0; i < count; ++i) {
    if (i > 0 && s.top_p < 1 && cumulative > s.top_p) return i;
    if (s.min_p > 0 && expf(sorted[i].logit - row.max) < s.min_p) return i;
    if (i >= k && sorted[i].logit < sorted[k - 1].logit) return i;  // ties with the k-th stay
    cumulative += expf(sorted[i].logit - row.max) / row.sum;
  }
  return complete ? count : -1;
}

// Draws among the first `kept` candidates, renormalised.
DIFFULEX_HD inline Pick pick_from_candidates(const Candidate* sorted, int kept, const RowSums& row,
                                             const SamplerParams& s, int32_t position,
                                             int32_t step) {
  float total = 0;
  for (int i = 0; i < kept; ++i) total += expf(sorted[i].logit - row.max);
  const float target = uniform(row_draw(s, position, step, -1).v[0]) * total;
  float cumulative = 0;
  int at = 0;
  for (; at + 1 < kept; ++at) {
    cumulative += expf(sorted[at].logit - row.max);
    if (target < cumulative) break;
  }
  return Pick{sorted[at].token, expf(sorted[at].logit - row.max) / total, entropy_of(row, s.flags)};
}

}  // namespace diffulex::decide
