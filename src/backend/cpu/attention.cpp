#include "backend/cpu/attention.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/attention.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cmath>

#include "backend/cpu/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace diffulex::cpu::HWY_NAMESPACE {

// Scratch of one item, all f32. d = head_dim rounded up to whole vectors.
struct Scratch {
  float* keys;     // [head_dim][kKeyTile]: transposed
  float* values;   // [kKeyTile][d]
  float* scores;   // [kMaxAttentionRows][kKeyTile]
  float* out;      // [kMaxAttentionRows][d]
  float* top;      // [kMaxAttentionRows]
  float* sum;      // [kMaxAttentionRows]
  float* row;      // [d]
  int d;
};

Scratch lay_out(float* base, int head_dim) {
  Scratch s{};
  s.d = padded_head(head_dim);
  s.keys = base;
  s.values = s.keys + static_cast<ptrdiff_t>(s.d) * kKeyTile;
  s.scores = s.values + static_cast<ptrdiff_t>(s.d) * kKeyTile;
  s.out = s.scores + static_cast<ptrdiff_t>(kMaxAttentionRows) * kKeyTile;
  s.top = s.out + static_cast<ptrdiff_t>(kMaxAttentionRows) * s.d;
  s.sum = s.top + kMaxAttentionRows;
  s.row = s.sum + kMaxAttentionRows;
  return s;
}

const void* element(const void* base, int64_t index, DType type) {
  return static_cast<const unsigned char*>(base) + index * static_cast<int64_t>(size_of(type));
}

void widen(const void* from, DType type, int n, float* to) {
  const F f;
  if (type == DType::kF32) {
    const auto* x = static_cast<const float*>(from);
    for_each(n, [&](int i) { hn::StoreU(hn::LoadU(f, x + i), f, to + i); }, [&](int i) { to[i] = x[i]; });
  } else {
    const auto* x = static_cast<const uint16_t*>(from);
    for_each(n, [&](int i) { hn::StoreU(load_bf16(f, x + i), f, to + i); }, [&](int i) { to[i] = from_bf16(x[i]); });
  }
}

int64_t offset_of(const AttentionItem& item, int32_t position) {
  if (position >= item.context_len) return static_cast<int64_t>(position - item.context_len) * item.new_stride;
  return item.table[position / item.page_size] * item.page_stride +
         static_cast<int64_t>(position % item.page_size) * item.head_dim;
}

// Keys of the tile at `first`, transposed, and its values. Positions that no row sees are zero: what memory holds there may
// never have been written.
void pack_tile(const AttentionItem& item, const Scratch& s, int32_t first, const decide::KeyRange& seen) {
  for (int j = 0; j < kKeyTile; ++j) {
    const int32_t position = first + j;
    float* value = s.values + static_cast<ptrdiff_t>(j) * s.d;
    if (position < seen.begin || position >= seen.end || (position >= seen.hole_begin && position < seen.hole_end)) {
      std::fill_n(value, s.d, 0.0f);
      for (int i = 0; i < item.head_dim; ++i) s.keys[i * kKeyTile + j] = 0;
      continue;
    }
    const bool fresh = position >= item.context_len;
    const int64_t at = offset_of(item, position);
    widen(element(fresh ? item.k_new : item.k_pages, at, item.kv_dtype), item.kv_dtype, item.head_dim, s.row);
    for (int i = 0; i < item.head_dim; ++i) s.keys[i * kKeyTile + j] = s.row[i];
    widen(element(fresh ? item.v_new : item.v_pages, at, item.kv_dtype), item.kv_dtype, item.head_dim, value);
  }
}

// c[r][0..columns) (+)= sum_k a[r][k] * b[k][0..columns) for R rows and V vectors of columns, held in registers.
template <int R, int V, bool kAdd>
HWY_INLINE void block_product(const float* const* a, int depth, const float* b, int b_stride, float* const* c) {
  const F f;
  const auto lanes = static_cast<int>(hn::Lanes(f));
  VF acc[R][V];
  for (int r = 0; r < R; ++r)
    for (int v = 0; v < V; ++v) acc[r][v] = kAdd ? hn::LoadU(f, c[r] + v * lanes) : hn::Zero(f);
  for (int k = 0; k < depth; ++k) {
    VF row[V];
    for (int v = 0; v < V; ++v) row[v] = hn::LoadU(f, b + static_cast<ptrdiff_t>(k) * b_stride + v * lanes);
    for (int r = 0; r < R; ++r) {
      const VF x = hn::Set(f, a[r][k]);
      for (int v = 0; v < V; ++v) acc[r][v] = hn::MulAdd(x, row[v], acc[r][v]);
    }
  }
  for (int r = 0; r < R; ++r)
    for (int v = 0; v < V; ++v) hn::StoreU(acc[r][v], f, c[r] + v * lanes);
}

#if HWY_TARGET <= HWY_AVX3 || HWY_TARGET == HWY_NEON
constexpr int kRows = 6, kVectors = 4;  // 32 registers
#else
constexpr int kRows = 4, kVectors = 2;  // 16 registers
#endif

template <int R, bool kAdd>
HWY_INLINE void row_block(const float* const* a, int depth, const float* b, int b_stride, float* const* c, int columns) {
  const auto lanes = static_cast<int>(hn::Lanes(F()));
  float* at[R];
  int column = 0;
  const auto shift = [&] {
    for (int r = 0; r < R; ++r) at[r] = c[r] + column;
  };
  for (; column + kVectors * lanes <= columns; column += kVectors * lanes) {
    shift();
    block_product<R, kVectors, kAdd>(a, depth, b + column, b_stride, at);
  }
  for (; column < columns; column += lanes) {
    shift();
    block_product<R, 1, kAdd>(a, depth, b + column, b_stride, at);
  }
}

// The product of `rows` rows; a(r) and c(r) give row pointers. columns is a multiple of the vector length.
template <bool kAdd, class A, class C>
void product(int rows, const A& a, int depth, const float* b, int b_stride, const C& c, int columns) {
  const float* from[kRows];
  float* to[kRows];
  int r = 0;
  const auto take = [&](int n) {
    for (int i = 0; i < n; ++i) from[i] = a(r + i), to[i] = c(r + i);
  };
  for (; r + kRows <= rows; r += kRows) {
    take(kRows);
    row_block<kRows, kAdd>(from, depth, b, b_stride, to, columns);
  }
  for (; r + 2 <= rows; r += 2) {
    take(2);
    row_block<2, kAdd>(from, depth, b, b_stride, to, columns);
  }
  for (; r < rows; ++r) {
    take(1);
    row_block<1, kAdd>(from, depth, b, b_stride, to, columns);
  }
}

// Hides the keys that a token does not see. Returns false when it sees none of the tile.
bool mask_scores(float* scores, const decide::KeyRange& range, int32_t first) {
  const int begin = std::clamp(range.begin - first, 0, kKeyTile), end = std::clamp(range.end - first, 0, kKeyTile);
  const int hole_begin = std::clamp(range.hole_begin - first, begin, end);
  const int hole_end = std::clamp(range.hole_end - first, hole_begin, end);
  if (end - begin == hole_end - hole_begin) return false;
  std::fill(scores, scores + begin, -INFINITY);
  std::fill(scores + hole_begin, scores + hole_end, -INFINITY);
  std::fill(scores + end, scores + kKeyTile, -INFINITY);
  return true;
}

// Turns a row's scores into weights relative to its running maximum and rescales what it has summed so far.
void soften(float* scores, float* out, int d, float& top, float& sum) {
  const F f;
  const auto lanes = static_cast<int>(hn::Lanes(f));
  VF best = hn::Set(f, top);
  for (int j = 0; j < kKeyTile; j += lanes) best = hn::Max(best, hn::LoadU(f, scores + j));
  const float now = hn::GetLane(hn::MaxOfLanes(f, best));
  const float scale = top == -INFINITY ? 0.0f : std::exp(top - now);
  const VF vnow = hn::Set(f, now), floor = hn::Set(f, -80.0f);
  VF total = hn::Zero(f);
  for (int j = 0; j < kKeyTile; j += lanes) {
    const VF below = hn::Sub(hn::LoadU(f, scores + j), vnow);
    const VF weight = hn::IfThenZeroElse(hn::Lt(below, floor), hn::Exp(f, hn::Max(below, floor)));
    hn::StoreU(weight, f, scores + j);
    total = hn::Add(total, weight);
  }
  sum = sum * scale + hn::GetLane(hn::SumOfLanes(f, total));
  if (scale != 1.0f) {
    const VF vscale = hn::Set(f, scale);
    for (int i = 0; i < d; i += lanes) hn::StoreU(hn::Mul(hn::LoadU(f, out + i), vscale), f, out + i);
  }
  top = now;
}

void write_out(const AttentionItem& item, const Scratch& s, int row) {
  const F f;
  float* out = s.out + static_cast<ptrdiff_t>(row) * s.d;
  const float scale = s.sum[row] > 0 ? 1.0f / s.sum[row] : 0.0f;  // a row that sees nothing is zero
  const int64_t at = static_cast<int64_t>(row / item.group) * item.out_stride + static_cast<int64_t>(row % item.group) * item.head_dim;
  const int n = item.head_dim;
  const VF vs = hn::Set(f, scale);
  if (item.out_dtype == DType::kF32) {
    float* to = static_cast<float*>(item.out) + at;
    for_each(n, [&](int i) { hn::StoreU(hn::Mul(hn::LoadU(f, out + i), vs), f, to + i); }, [&](int i) { to[i] = out[i] * scale; });
  } else {
    uint16_t* to = static_cast<uint16_t*>(item.out) + at;
    for_each(n, [&](int i) { store_bf16(f, hn::Mul(hn::LoadU(f, out + i), vs), to + i); },
             [&](int i) { to[i] = to_bf16(out[i] * scale); });
  }
}

void Attend(const AttentionItem& item, float* scratch) {
  const Scratch s = lay_out(scratch, item.head_dim);
  const int rows = item.tokens * item.group;
  decide::KeyRange ranges[kMaxAttentionRows];
  decide::KeyRange seen{item.span_end, 0, 0, 0};  // by any row; the hole is the same for all
  for (int t = 0; t < item.tokens; ++t) {
    ranges[t] = decide::visible_keys(item.rule, item.position + t, item.context_len, item.span_end, item.sliding_window);
    seen = {std::min(seen.begin, ranges[t].begin), std::max(seen.end, ranges[t].end), ranges[t].hole_begin, ranges[t].hole_end};
  }
  std::fill_n(s.top, rows, -INFINITY);
  std::fill_n(s.sum, rows, 0.0f);
  std::fill_n(s.out, static_cast<size_t>(rows) * static_cast<size_t>(s.d), 0.0f);
  const auto q_row = [&](int r) { return item.q + (r / item.group) * item.q_stride + static_cast<ptrdiff_t>(r % item.group) * item.head_dim; };
  const auto score_row = [&](int r) { return s.scores + static_cast<ptrdiff_t>(r) * kKeyTile; };
  const auto out_row = [&](int r) { return s.out + static_cast<ptrdiff_t>(r) * s.d; };
  for (int32_t first = seen.begin / kKeyTile * kKeyTile; first < seen.end; first += kKeyTile) {
    pack_tile(item, s, first, seen);
    product<false>(rows, q_row, item.head_dim, s.keys, kKeyTile, score_row, kKeyTile);
    for (int r = 0; r < rows; ++r) {
      if (mask_scores(score_row(r), ranges[r / item.group], first)) {
        soften(score_row(r), out_row(r), s.d, s.top[r], s.sum[r]);
      } else {
        std::fill_n(score_row(r), kKeyTile, 0.0f);
      }
    }
    product<true>(rows, [&](int r) { return static_cast<const float*>(score_row(r)); }, kKeyTile, s.values, s.d, out_row, s.d);
  }
  for (int r = 0; r < rows; ++r) write_out(item, s, r);
}

}  // namespace diffulex::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace diffulex::cpu {

HWY_EXPORT(Attend);

size_t attention_scratch(int head_dim) {
  const auto d = static_cast<size_t>(padded_head(head_dim));
  return 2 * d * kKeyTile + static_cast<size_t>(kMaxAttentionRows) * (kKeyTile + d + 2) + d;
}

void attend(const AttentionItem& item, float* scratch) { HWY_DYNAMIC_DISPATCH(Attend)(item, scratch); }

}  // namespace diffulex::cpu
#endif  // HWY_ONCE
