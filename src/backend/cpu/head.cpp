#include "backend/cpu/head.h"

#include <algorithm>
#include <cmath>

#include "backend/cpu/select_kernels.h"

namespace diffulex::cpu {

Head::Head(const PackedMatrix* weights, const HeadConfig& config)
    : weights_(weights),
      config_(config),
      select_tiles_(ceil_div(weights->rows(), decide::kTileIds)),
      scores_(Buffer::on_huge_pages(
          static_cast<size_t>(config.members * kRowChunk * weights->tile()) * sizeof(float))),
      summaries_(static_cast<size_t>(kRowChunk * select_tiles_) * sizeof(decide::TilePartial)),
      filter_slots_(static_cast<size_t>(config.max_rows), -1),
      wants_exact_(static_cast<size_t>(config.max_rows), 0) {
  scores_.zero();
}

uint64_t Head::bytes() const {
  return scores_.bytes() + summaries_.bytes() + exact_scores_.bytes() +
         exact_.capacity() * sizeof(decide::Candidate) +
         candidates_.size() * 2 * static_cast<size_t>(config_.candidate_limit) *
             sizeof(decide::Candidate);
}

void Head::prepare(Matmul& matmul, std::span<const HeadRow> rows) {
  rows_ = rows;
  matmul.prepare(*weights_, static_cast<int64_t>(rows.size()), false);
  int slots = 0, most = 0;
  for (size_t r = 0; r < rows.size(); ++r) {
    if (r % static_cast<size_t>(kRowChunk) == 0) slots = 0;
    filter_slots_[r] = decide::truncates(rows[r].sampler) ? slots++ : -1;
    wants_exact_[r] = 0;
    most = std::max(most, slots);
  }
  if (most == 0) return;
  const auto lists = static_cast<size_t>(most) * static_cast<size_t>(config_.members);
  while (candidates_.size() < lists) candidates_.push_back(Candidates(config_.candidate_limit));
  slots_ = std::max(slots_, most);  // only now: the lists are there
  if (weights_->rows() > config_.candidate_limit) {
    matmul.prepare(*weights_, 1, false);
    if (exact_scores_.bytes() == 0)
      exact_scores_ = Buffer(static_cast<size_t>(weights_->rows()) * sizeof(float));
    exact_.reserve(static_cast<size_t>(weights_->rows()));
  }
}

void Head::run(int member, Team& team, Matmul& matmul, const std::byte* x, size_t x_row_bytes,
               decide::Pick* picks, float* logits) {
  const int64_t total = static_cast<int64_t>(rows_.size());
  float* const scores = scores_.as<float>() + member * kRowChunk * weights_->tile();
  for (int64_t first = 0; first < total; first += kRowChunk) {
    const int64_t count = std::min(kRowChunk, total - first), rounded = chunk_rows(total, first);
    for (int slot = 0; slot < slots_; ++slot) candidates(member, slot).clear();
    for (int64_t t; (t = team.claim()) < weights_->tiles();) {
      matmul.run(member, *weights_, t, rounded, false, x + static_cast<size_t>(first) * x_row_bytes,
                 scores);
      reduce(member, t, first, count, scores, logits);
    }
    team.barrier();
    for (int64_t r; (r = team.claim()) < count;) finish_row(first + r, first, picks);
    team.barrier();
    for (int64_t r = first; r < first + count; ++r)
      if (wants_exact_[static_cast<size_t>(r)] != 0)
        run_exact(member, team, matmul, x + static_cast<size_t>(r) * x_row_bytes, r, picks);
  }
}

// What the request changes about the logits of ids [first_id, first_id + n), and what nobody may
// choose.
void Head::adjust(const HeadRow& row, int32_t first_id, int n, float* scores) const {
  const auto before = [](const decide::LogitAdjust& a, int32_t id) { return a.token < id; };
  for (auto at = std::lower_bound(row.adjust.begin(), row.adjust.end(), first_id, before);
       at != row.adjust.end() && at->token < first_id + n; ++at)
    scores[at->token - first_id] = decide::adjusted(scores[at->token - first_id], *at);

  const int allowed = std::clamp(config_.token_count - first_id, 0, n);
  std::fill(scores + allowed, scores + n, -HUGE_VALF);
  if (row.mask_token >= first_id && row.mask_token < first_id + n)
    scores[row.mask_token - first_id] = -HUGE_VALF;
}

void Head::reduce(int member, int64_t t, int64_t first, int64_t count, float* scores,
                  float* logits) {
  const int64_t width = weights_->width(t), begin = t * weights_->tile();
  for (int64_t r = 0; r < count; ++r) {
    const HeadRow& row = rows_[static_cast<size_t>(first + r)];
    float* const line = scores + r * width;
    if (logits != nullptr)
      std::copy_n(line, width, logits + (first + r) * weights_->rows() + begin);
    const int slot = slot_of(first + r);
    const float temperature = row.sampler.temperature;
    for (int64_t offset = 0; offset < width; offset += decide::kTileIds) {
      const int n = static_cast<int>(std::min<int64_t>(decide::kTileIds, width - offset));
      const int32_t id = static_cast<int32_t>(begin + offset);
      const int64_t tile = id / decide::kTileIds;
      adjust(row, id, n, line + offset);
      float uniform = -1.0f;
      if (temperature > 0 && slot < 0)
        uniform = decide::uniform(
            decide::row_draw(row.sampler, row.position, row.step, static_cast<int32_t>(tile)).v[0]);
      reduce_tile(line + offset, n, id, temperature, row.sampler.flags, uniform,
                  summaries_.as<decide::TilePartial>() + r * select_tiles_ + tile);
      if (slot >= 0) candidates(member, slot).add(line + offset, n, id);
    }
  }
}

// False when tokens outside of ranked might be kept; the pick is void then.
bool Head::pick_truncated(const HeadRow& row, const decide::TilePartial* tiles,
                          const decide::Candidate* ranked, int count, bool complete,
                          decide::Pick* pick) const {
  *pick = decide::Pick{-1, 0, 0};
  const decide::RowSums sums = decide::sum_tiles(tiles, static_cast<int>(select_tiles_));
  if (sums.argmax < 0) return true;
  const int kept = decide::kept_candidates(ranked, count, complete, sums, row.sampler);
  if (kept < 0) return false;
  *pick = decide::pick_from_candidates(ranked, kept, sums, row.sampler, row.position, row.step);
  return true;
}

void Head::finish_row(int64_t r, int64_t chunk_first, decide::Pick* picks) {
  const HeadRow& row = rows_[static_cast<size_t>(r)];
  const decide::TilePartial* const tiles =
      summaries_.as<decide::TilePartial>() + (r - chunk_first) * select_tiles_;
  const int count = static_cast<int>(select_tiles_), slot = slot_of(r);
  if (slot < 0) {
    picks[r] = decide::pick_from_tiles(tiles, count, row.sampler, row.position, row.step);
    return;
  }
  Candidates& merged = candidates(0, slot);
  for (int member = 1; member < config_.members; ++member) merged.add(candidates(member, slot));
  merged.rank();
  const bool enough =
      pick_truncated(row, tiles, merged.data(), merged.size(), merged.complete(), &picks[r]);
  wants_exact_[static_cast<size_t>(r)] = enough ? 0 : 1;
}

// All logits of one row, sorted as a whole.
void Head::run_exact(int member, Team& team, Matmul& matmul, const std::byte* x, int64_t r,
                     decide::Pick* picks) {
  float* const scores = scores_.as<float>() + member * kRowChunk * weights_->tile();
  float* const all = exact_scores_.as<float>();
  for (int64_t t; (t = team.claim()) < weights_->tiles();) {
    matmul.run(member, *weights_, t, kRowBucket, false, x, scores);
    std::copy_n(scores, weights_->width(t), all + t * weights_->tile());
  }
  team.barrier();
  if (member == 0) {
    const HeadRow& row = rows_[static_cast<size_t>(r)];
    decide::TilePartial* const tiles = summaries_.as<decide::TilePartial>();
    exact_.clear();
    for (int64_t t = 0; t < select_tiles_; ++t) {
      const int32_t id = static_cast<int32_t>(t * decide::kTileIds);
      const int n = static_cast<int>(std::min<int64_t>(decide::kTileIds, weights_->rows() - id));
      adjust(row, id, n, all + id);
      reduce_tile(all + id, n, id, row.sampler.temperature, row.sampler.flags, -1.0f, tiles + t);
      for (int i = 0; i < n; ++i)
        if (all[id + i] > -HUGE_VALF) exact_.push_back({all[id + i], id + i});
    }
    std::sort(exact_.begin(), exact_.end(), decide::before);
    pick_truncated(row, tiles, exact_.data(), static_cast<int>(exact_.size()), true, &picks[r]);
  }
  team.barrier();
}

}  // namespace diffulex::cpu
