// The head: logits of one vocabulary tile at a time, reduced at once, so that no row of logits is stored. Rows that keep only their
// most probable tokens (top-k, top-p) collect candidates on the way.
#include <algorithm>
#include <cmath>

#include "backend/cpu/candidates.h"
#include "backend/cpu/forward.h"
#include "backend/cpu/kernels.h"

namespace diffulex::cpu {
namespace {

bool truncates(const decide::SamplerParams& s) { return s.temperature > 0 && (s.top_k > 0 || s.top_p < 1); }

// Draws within the tile, by inverse CDF over exp(l - max).
void sample_tile(decide::TilePartial& tile, const float* logits, const float* exps, int n, int32_t first_id, float u) {
  const float target = u * tile.sum;
  float cumulative = 0;
  int last = -1;
  for (int i = 0; i < n; ++i) {
    if (!(exps[i] > 0)) continue;
    last = i;
    cumulative += exps[i];
    if (target < cumulative) break;
  }
  if (last < 0) return;
  tile.sampled = first_id + last;
  tile.sampled_logit = logits[last];
}

}  // namespace

void Forward::reduce_head_tile(int first, int count, int tile) {
  const PackedMatrix& matrix = s_.model.head;
  const int stride = matrix.tile_n, width = matrix.tile_width(tile), tiles = matrix.tile_count();
  const int32_t first_id = tile * decide::kTileIds;
  float* logits = s_.work.tile[static_cast<size_t>(member_)].data();
  float* exps = s_.work.exps[static_cast<size_t>(member_)].data();
  const auto row_bytes = static_cast<size_t>(s_.arch.hidden_size) * size_of(s_.config.weight_dtype);
  const unsigned char* in = s_.work.head_in.data() + static_cast<size_t>(first) * row_bytes;
  if (!s_.matmul.multiply(member_, matrix, tile, in, count, logits, stride, Write::kStore)) s_.failed = true;
  for (int r = 0; r < count; ++r) {
    const auto head_row = static_cast<size_t>(first + r);
    const RequestRow& request = s_.requests[static_cast<size_t>(s_.work.head_request[head_row])];
    const decide::SamplerParams& sampler = request.sampler;
    float* l = logits + static_cast<ptrdiff_t>(r) * stride;
    const int32_t banned = request.blocks.mask_token - first_id;
    if (banned >= 0 && banned < width) l[banned] = -INFINITY;
    const bool draws = sampler.temperature > 0;
    const float scale = draws ? 1.0f / sampler.temperature : 1.0f;
    const bool entropy = (sampler.flags & decide::kWantEntropy) != 0;
    decide::TilePartial partial = reduce_tile(l, width, first_id, scale, entropy, draws ? exps : nullptr);
    if (truncates(sampler)) {
      s_.candidates[static_cast<size_t>(member_)].offer(r, l, width, first_id);
    } else if (draws && partial.sum > 0) {
      const int32_t position = s_.work.row_position[static_cast<size_t>(s_.head_rows[head_row])];
      const auto draw = decide::row_draw(sampler, position, request.window.forwards, tile);
      sample_tile(partial, l, exps, width, first_id, decide::uniform(draw.v[0]));
    }
    s_.work.partials[static_cast<size_t>(r) * static_cast<size_t>(tiles) + static_cast<size_t>(tile)] = partial;
  }
}

// Puts a row together once all its tiles are reduced.
void Forward::choose(int row, int index) {
  const RequestRow& request = s_.requests[static_cast<size_t>(s_.work.head_request[static_cast<size_t>(row)])];
  const decide::SamplerParams& sampler = request.sampler;
  const int tiles = s_.model.head.tile_count();
  const decide::TilePartial* partials = &s_.work.partials[static_cast<size_t>(index) * static_cast<size_t>(tiles)];
  const int32_t position = s_.work.row_position[static_cast<size_t>(s_.head_rows[static_cast<size_t>(row)])];
  decide::Pick& pick = s_.work.picks[static_cast<size_t>(row)];
  if (!truncates(sampler)) {
    pick = decide::pick_from_tiles(partials, tiles, sampler, position, request.window.forwards);
    return;
  }
  const decide::RowSums sums = decide::sum_tiles(partials, tiles);
  if (sums.argmax < 0) {
    pick = decide::Pick{-1, 0, 0};
    return;
  }
  bool complete = false;
  const std::span<const decide::Candidate> sorted = merge_candidates(s_.candidates, index, s_.arch.token_count, &complete);
  const int kept = decide::kept_candidates(sorted.data(), static_cast<int>(sorted.size()), complete, sums, sampler);
  if (kept < 0) {
    s_.wide[static_cast<size_t>(row)] = 1;  // the kept tokens are more than the candidates: done exactly, alone, later
    return;
  }
  pick = decide::pick_from_candidates(sorted.data(), kept, sums, sampler, position, request.window.forwards);
}

void Forward::head() {
  const int total = static_cast<int>(s_.head_rows.size());
  for (int first = 0; first < total; first += kHeadRows) {
    const int count = std::min(kHeadRows, total - first);
    share(s_.model.head.tile_count(), [&](int tile) { reduce_head_tile(first, count, tile); });
    share(count, [&](int r) { choose(first + r, r); });
  }
}

// All logits of one head row, by all members. Needed only for a nucleus wider than the candidates kept.
void Forward::whole_row(int row, float* logits) {
  const PackedMatrix& matrix = s_.model.head;
  const auto row_bytes = static_cast<size_t>(s_.arch.hidden_size) * size_of(s_.config.weight_dtype);
  const unsigned char* in = s_.work.head_in.data() + static_cast<size_t>(row) * row_bytes;
  float* product = s_.work.tile[static_cast<size_t>(member_)].data();
  for (int tile = member_; tile < matrix.tile_count(); tile += s_.team.size()) {
    if (!s_.matmul.multiply(member_, matrix, tile, in, 1, product, matrix.tile_n, Write::kStore)) s_.failed = true;
    std::copy_n(product, matrix.tile_width(tile), logits + static_cast<ptrdiff_t>(tile) * matrix.tile_n);
  }
  s_.team.barrier();
}

}  // namespace diffulex::cpu
