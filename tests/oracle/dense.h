// The dense decoder by its definition, in double, from the checkpoint's tensors.
#pragma once

#include <cmath>
#include <map>
#include <string>
#include <vector>

#include "oracle/attention.h"
#include "oracle/safetensors.h"

namespace diffulex_oracle {

struct DenseShape {
  int hidden, heads, kv_heads, head_dim, layers;
  double eps, theta, scale;
  bool qk_norm, qkv_bias, output_bias, tied;
  std::vector<int> windows;  // per layer, 0 = off
};

class Dense {
 public:
  Dense(const DenseShape& shape, const std::map<std::string, Tensor>& tensors)
      : s_(shape), t_(tensors) {}

  // Logits of every row of one request that starts at position 0.
  std::vector<std::vector<double>> forward(const std::vector<int32_t>& ids, Rule rule) const {
    const int n = static_cast<int>(ids.size()), d = s_.head_dim, group = s_.heads / s_.kv_heads;
    std::vector<std::vector<double>> h;
    for (const int32_t id : ids) h.push_back(row("model.embed_tokens.weight", id));
    for (int layer = 0; layer < s_.layers; ++layer) {
      const std::string p = "model.layers." + std::to_string(layer) + ".", a = p + "self_attn.";
      rule.window = s_.windows.empty() ? 0 : s_.windows[static_cast<size_t>(layer)];
      std::vector<std::vector<double>> q, k, v;
      for (int i = 0; i < n; ++i) {
        const auto x = norm(h[static_cast<size_t>(i)], p + "input_layernorm.weight");
        q.push_back(heads(x, a + "q_proj", s_.heads, a + "q_norm.weight", i));
        k.push_back(heads(x, a + "k_proj", s_.kv_heads, a + "k_norm.weight", i));
        v.push_back(heads(x, a + "v_proj", s_.kv_heads, "", -1));
      }
      for (int i = 0; i < n; ++i) {
        std::vector<double> joined;
        for (int head = 0; head < s_.heads; ++head) {
          const size_t at = static_cast<size_t>(head / group * d);
          const auto out = attend(
              rule, i, 0, n, d,
              [&](int c) {
                return q[static_cast<size_t>(i)][static_cast<size_t>(head * d + c)] * s_.scale;
              },
              [&](int key, int c) {
                return k[static_cast<size_t>(key)][at + static_cast<size_t>(c)];
              },
              [&](int key, int c) {
                return v[static_cast<size_t>(key)][at + static_cast<size_t>(c)];
              });
          joined.insert(joined.end(), out.begin(), out.end());
        }
        auto& line = h[static_cast<size_t>(i)];
        add(line, linear(joined, a + "o_proj", s_.output_bias));
        const auto x = norm(line, p + "post_attention_layernorm.weight");
        auto gate = linear(x, p + "mlp.gate_proj", false);
        const auto up = linear(x, p + "mlp.up_proj", false);
        for (size_t c = 0; c < gate.size(); ++c)
          gate[c] = gate[c] / (1 + std::exp(-gate[c])) * up[c];
        add(line, linear(gate, p + "mlp.down_proj", false));
      }
    }
    std::vector<std::vector<double>> logits;
    for (const auto& line : h)
      logits.push_back(product(norm(line, "model.norm.weight"),
                               t_.at(s_.tied ? "model.embed_tokens.weight" : "lm_head.weight")));
    return logits;
  }

 private:
  static void add(std::vector<double>& to, const std::vector<double>& what) {
    for (size_t i = 0; i < to.size(); ++i) to[i] += what[i];
  }
  std::vector<double> row(const std::string& name, int64_t r) const {
    const Tensor& t = t_.at(name);
    std::vector<double> out;
    for (int64_t i = 0; i < t.shape[1]; ++i) out.push_back(t.at(r * t.shape[1] + i));
    return out;
  }
  std::vector<double> norm(const std::vector<double>& x, const std::string& name) const {
    const Tensor& w = t_.at(name);
    double sum = 0;
    for (const double v : x) sum += v * v;
    const double scale = 1 / std::sqrt(sum / static_cast<double>(x.size()) + s_.eps);
    std::vector<double> y;
    for (size_t i = 0; i < x.size(); ++i) y.push_back(x[i] * scale * w.at(static_cast<int64_t>(i)));
    return y;
  }
  static std::vector<double> product(const std::vector<double>& x, const Tensor& w) {
    std::vector<double> y;
    for (int64_t r = 0; r < w.shape[0]; ++r) {
      double sum = 0;
      for (int64_t i = 0; i < w.shape[1]; ++i)
        sum += x[static_cast<size_t>(i)] * w.at(r * w.shape[1] + i);
      y.push_back(sum);
    }
    return y;
  }
  std::vector<double> linear(const std::vector<double>& x, const std::string& name,
                             bool bias) const {
    auto y = product(x, t_.at(name + ".weight"));
    for (size_t i = 0; bias && i < y.size(); ++i)
      y[i] += t_.at(name + ".bias").at(static_cast<int64_t>(i));
    return y;
  }
  // Projection, norm and rotation of all heads; position < 0: projection only.
  std::vector<double> heads(const std::vector<double>& x, const std::string& name, int count,
                            const std::string& norm_name, int position) const {
    auto y = linear(x, name, s_.qkv_bias);
    if (position < 0) return y;
    const size_t d = static_cast<size_t>(s_.head_dim), half = d / 2;
    for (size_t head = 0; head < static_cast<size_t>(count); ++head) {
      std::vector<double> z(y.begin() + static_cast<ptrdiff_t>(head * d),
                            y.begin() + static_cast<ptrdiff_t>((head + 1) * d));
      if (s_.qk_norm) z = norm(z, norm_name);
      for (size_t i = 0; i < half; ++i) {
        const double angle =
            position * std::pow(s_.theta, -2.0 * static_cast<double>(i) / static_cast<double>(d));
        y[head * d + i] = z[i] * std::cos(angle) - z[half + i] * std::sin(angle);
        y[head * d + half + i] = z[half + i] * std::cos(angle) + z[i] * std::sin(angle);
      }
    }
    return y;
  }

  DenseShape s_;
  const std::map<std::string, Tensor>& t_;
};

}  // namespace diffulex_oracle
