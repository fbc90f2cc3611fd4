// Attention by the definition: every pair of positions, in double, written from the visibility rules and not from the library.
#pragma once

#include <cmath>
#include <functional>
#include <vector>

namespace diffulex_oracle {

struct Rule {
  enum Mode { kBlockCausal, kPrefixFull, kPrefixCausal, kCacheOnly, kUnmasked } mode = kBlockCausal;
  int g = 1, prompt = 0, padded = 0, window = 0;
  bool hole = false;
};

// a: position of the query; k: of the key; C: cached keys.
inline bool visible(const Rule& rule, int a, int k, int C) {
  if (rule.window > 0 && a - k >= rule.window) return false;
  if (k < C) return !(rule.hole && rule.prompt <= k && k < rule.padded);
  switch (rule.mode) {
    case Rule::kBlockCausal: return k / rule.g <= a / rule.g;
    case Rule::kPrefixFull:
      if (a < rule.prompt) return k < rule.prompt;
      if (a < rule.padded) return k < rule.padded;
      return k / rule.g <= a / rule.g;
    case Rule::kPrefixCausal: return k <= a;
    case Rule::kCacheOnly: return false;
    case Rule::kUnmasked: return true;
  }
  return false;
}

// One head. q(d) of the query at position a; key(k, d), value(k, d) of all `keys` positions. Zero when nothing is visible.
inline std::vector<double> attend(const Rule& rule, int a, int C, int keys, int head_dim, const std::function<double(int)>& q,
                                  const std::function<double(int, int)>& key, const std::function<double(int, int)>& value) {
  std::vector<double> out(static_cast<size_t>(head_dim), 0.0), scores;
  double top = -INFINITY, total = 0;
  for (int k = 0; k < keys; ++k) {
    double s = -INFINITY;
    if (visible(rule, a, k, C)) {
      s = 0;
      for (int d = 0; d < head_dim; ++d) s += q(d) * key(k, d);
    }
    scores.push_back(s);
    top = std::max(top, s);
  }
  if (top == -INFINITY) return out;
  for (int k = 0; k < keys; ++k) {
    const double w = std::exp(scores[static_cast<size_t>(k)] - top);
    total += w;
    if (w > 0)
      for (int d = 0; d < head_dim; ++d) out[static_cast<size_t>(d)] += w * value(k, d);
  }
  for (double& x : out) x /= total;
  return out;
}

}  // namespace diffulex_oracle
