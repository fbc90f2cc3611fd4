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
  float second;  // the largest logit but one (equal to max when two share it); kWantMargin only
};

// A token that top-k, top-p or min-p may keep.
struct Candidate {
  float logit;
  int32_t token;
};

// Whether a row's token is drawn among candidates: its whole order matters then.
DIFFULEX_HD inline bool truncates(const SamplerParams& s) {
  return s.temperature > 0 && (s.top_k > 0 || s.top_p < 1 || s.min_p > 0);
}

DIFFULEX_HD inline bool before(const Candidate& a,
                               const Candidate& b) {  // the more probable first, then the higher id
  return a.logit > b.logit || (a.logit == b.logit && a.token > b.token);
}

// Chooses value by value: so compilers select instead of branching, in the head's innermost loop.
DIFFULEX_HD inline Candidate likelier(Candidate a, Candidate b) {
  return b.logit > a.logit || (b.logit == a.logit && b.token > a.token) ? b : a;
}

// Whether an id can not be chosen, whatever its logit: it is the mask, or stands for nothing.
DIFFULEX_HD inline bool is_banned(int32_t token, int32_t token_count, int32_t mask_token) {
  return token >= token_count || token == mask_token;
}

// A logit that is not finite is never chosen.
DIFFULEX_HD inline bool is_finite(float logit) { return fabsf(logit) <= 3.4e38f; }

// What becomes of a logit that `a` names: repetition draws it towards the improbable, whatever its
// sign (Keskar et al., "CTRL", 2019), then the bias is added.
DIFFULEX_HD inline float adjusted(float logit, const LogitAdjust& a) {
  return (logit > 0 ? logit / a.penalty : logit * a.penalty) + a.bias;
}

// step: forwards of the request so far that denoised something. Other forwards depend on the
// schedule.
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
  float second;  // the largest logit but one; kWantMargin only
};

// What a tile adds to its row, whose best logit is `max`.
struct TileShare {
  float sum, weighted;
};
DIFFULEX_HD inline TileShare share_of(const TilePartial& tile, float max) {
  const float below = tile.max - max, scale = expf(below);
  return {multiply(tile.sum, scale), multiply(scale, tile.weighted + multiply(below, tile.sum))};
}

DIFFULEX_HD inline RowSums sum_tiles(const TilePartial* tiles, int count) {
  RowSums row{-INFINITY, 0, 0, -1, -INFINITY};
  for (int t = 0; t < count; ++t) {
    const TilePartial& tile = tiles[t];
    if (!(tile.sum > 0)) continue;
    const bool leads = tile.max >= row.max;
    const float below = leads ? row.max : tile.max;  // a tile's own best that is not the row's
    if (below > row.second) row.second = below;
    if (tile.second > row.second) row.second = tile.second;
    if (!leads) continue;
    row.max = tile.max;
    row.argmax = tile.argmax;
  }
  for (int t = 0; t < count; ++t) {
    if (!(tiles[t].sum > 0)) continue;
    const TileShare share = share_of(tiles[t], row.max);
    row.sum += share.sum;
    row.weighted += share.weighted;
  }
  return row;
}

DIFFULEX_HD inline float entropy_of(const RowSums& row, uint32_t flags) {
  return (flags & kWantEntropy) != 0 && row.sum > 0 ? logf(row.sum) - row.weighted / row.sum : 0.0f;
}

// The pick of a token of logit `logit`, ranked over the whole row.
DIFFULEX_HD inline Pick pick_of(int32_t token, float logit, const RowSums& row,
                                const SamplerParams& s) {
  Pick pick(token, expf(logit - row.max) / row.sum, entropy_of(row, s.flags));
  if (s.rank == kRankMargin) pick.rank = (1.0f - expf(row.second - row.max)) / row.sum;
  if (s.rank == kRankNegEntropy) pick.rank = -pick.entropy;
  return pick;
}

// Greedy, and T > 0 without top-k, top-p and min-p: an exact draw by weighted reservoir over the
// tiles, one decision per tile.
DIFFULEX_HD inline Pick pick_from_tiles(const TilePartial* tiles, int count, const SamplerParams& s,
                                        int32_t position, int32_t step) {
  const RowSums row = sum_tiles(tiles, count);
  if (row.argmax < 0) return Pick{-1, 0, 0};
  if (s.temperature <= 0) return pick_of(row.argmax, row.max, row, s);
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
  return pick_of(token, logit, row, s);
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

// What ranks a choice among the first `kept` candidates, whose weights sum to `total`.
DIFFULEX_HD inline float rank_of(const Candidate* sorted, int kept, const RowSums& row, float total,
                                 int32_t rank) {
  if (rank == kRankMargin) {
    const float second = kept > 1 ? expf(sorted[1].logit - row.max) : 0.0f;
    return (expf(sorted[0].logit - row.max) - second) / total;
  }
  float sum = 0;
  for (int i = 0; i < kept; ++i) {
    const float p = expf(sorted[i].logit - row.max) / total;
    if (p > 0) sum += p * logf(p);
  }
  return sum;
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
  Pick pick(sorted[at].token, expf(sorted[at].logit - row.max) / total, entropy_of(row, s.flags));
  if (s.rank != kRankProbability) pick.rank = rank_of(sorted, kept, row, total, s.rank);
  return pick;
}

}  // namespace diffulex::decide
