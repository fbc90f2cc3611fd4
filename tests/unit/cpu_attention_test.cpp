// Paged attention against the oracle: random ragged requests, all masks, page sizes, head sizes,
// group ratios; what was never written holds NaN.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "backend/cpu/attention.h"
#include "backend/cpu/convert.h"
#include "oracle/attention.h"

namespace diffulex {
namespace {

using diffulex_oracle::Rule;

struct Case {
  int head_dim, group, page_size, context, tokens;
  DType kv = DType::kF32, act = DType::kF32;
  Rule rule;
  uint64_t seed;
};

// Keys, values and queries that depend on the position only, so that the same request can be laid
// out in many ways.
float sample(uint64_t seed, int what, int position, int d) {
  uint64_t x = (seed * 1009 + static_cast<uint64_t>(what)) * 0x9E3779B97F4A7C15u +
               static_cast<uint64_t>(position) * 65537 + static_cast<uint64_t>(d);
  x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
  x = (x ^ x >> 27) * 0x94D049BB133111EBu;
  return static_cast<float>(static_cast<double>(x >> 11) / 9007199254740992.0 * 2 - 1);
}

float rounded(float x, DType type) {
  return type == DType::kF32 ? x : cpu::from_bf16(cpu::to_bf16(x));
}

class Storage {
 public:
  Storage(size_t count, DType type)
      : type_(type), bytes_(count * size_of(type), 0xff) {}  // all NaN
  void set(size_t i, float x) {
    cpu::convert(&x, DType::kF32, bytes_.data() + i * size_of(type_), type_, 1);
  }
  void* data() { return bytes_.data(); }
  float get(size_t i) const {
    float x;
    std::memcpy(&x, bytes_.data() + i * 4, 4);
    return type_ == DType::kF32
               ? x
               : cpu::from_bf16(reinterpret_cast<const uint16_t*>(bytes_.data())[i]);
  }

 private:
  DType type_;
  std::vector<unsigned char> bytes_;
};

// [tokens, group, head_dim]
std::vector<float> run(const Case& c) {
  const auto d = static_cast<size_t>(c.head_dim);
  const int pages = (c.context + c.page_size - 1) / c.page_size;
  Storage k_pages(static_cast<size_t>(2 * pages + 1) * static_cast<size_t>(c.page_size) * d, c.kv),
      v_pages = k_pages;
  Storage k_new(static_cast<size_t>(c.tokens) * d, c.kv), v_new = k_new;
  Storage out(static_cast<size_t>(c.tokens * c.group) * d, c.act);
  std::vector<int32_t> table;
  for (int p = 0; p < pages; ++p) table.push_back(2 * (pages - 1 - p) + 1);  // scattered, backwards
  for (int p = 0; p < c.context; ++p) {
    if (c.rule.hole && p >= c.rule.prompt && p < c.rule.padded) continue;  // never written
    const size_t slot =
        static_cast<size_t>(table[static_cast<size_t>(p / c.page_size)] * c.page_size +
                            p % c.page_size) *
        d;
    for (int i = 0; i < c.head_dim; ++i) {
      k_pages.set(slot + static_cast<size_t>(i), sample(c.seed, 0, p, i));
      v_pages.set(slot + static_cast<size_t>(i), sample(c.seed, 1, p, i));
    }
  }
  std::vector<float> q(static_cast<size_t>(c.tokens * c.group) * d);
  for (int t = 0; t < c.tokens; ++t)
    for (int i = 0; i < c.head_dim; ++i) {
      k_new.set(static_cast<size_t>(t) * d + static_cast<size_t>(i),
                sample(c.seed, 0, c.context + t, i));
      v_new.set(static_cast<size_t>(t) * d + static_cast<size_t>(i),
                sample(c.seed, 1, c.context + t, i));
      for (int g = 0; g < c.group; ++g)
        q[static_cast<size_t>(t * c.group + g) * d + static_cast<size_t>(i)] =
            sample(c.seed, 2 + g, c.context + t, i);
    }
  const int step = std::max(1, cpu::kMaxAttentionRows / c.group);
  std::vector<float> scratch(cpu::attention_scratch(c.head_dim),
                             std::numeric_limits<float>::quiet_NaN());
  for (int first = 0; first < c.tokens; first += step) {
    cpu::AttentionItem item{};
    item.q = q.data() + static_cast<size_t>(first * c.group) * d;
    item.q_stride = c.group * c.head_dim;
    item.group = c.group;
    item.head_dim = c.head_dim;
    item.tokens = std::min(step, c.tokens - first);
    item.position = c.context + first;
    item.k_new = k_new.data();
    item.v_new = v_new.data();
    item.new_stride = c.head_dim;
    item.k_pages = k_pages.data();
    item.v_pages = v_pages.data();
    item.page_stride = int64_t{c.page_size} * c.head_dim;
    item.table = table.data();
    item.page_size = c.page_size;
    item.kv_dtype = c.kv;
    item.rule = {c.rule.mode, c.rule.g, c.rule.prompt, c.rule.padded, c.rule.hole ? 1 : 0};
    item.context_len = c.context;
    item.span_end = c.context + c.tokens;
    item.sliding_window = c.rule.window;
    item.out = static_cast<unsigned char*>(out.data()) +
               static_cast<size_t>(first * c.group) * d * size_of(c.act);
    item.out_stride = c.group * c.head_dim;
    item.out_dtype = c.act;
    cpu::attend(item, scratch.data());
  }
  std::vector<float> result;
  for (size_t i = 0; i < static_cast<size_t>(c.tokens * c.group) * d; ++i)
    result.push_back(out.get(i));
  return result;
}

void expect_oracle(const Case& c) {
  const std::vector<float> got = run(c);
  for (int t = 0; t < c.tokens; ++t)
    for (int g = 0; g < c.group; ++g) {
      const auto expected = diffulex_oracle::attend(
          c.rule, c.context + t, c.context, c.context + c.tokens, c.head_dim,
          [&](int i) { return sample(c.seed, 2 + g, c.context + t, i); },
          [&](int k, int i) { return rounded(sample(c.seed, 0, k, i), c.kv); },
          [&](int k, int i) { return rounded(sample(c.seed, 1, k, i), c.kv); });
      for (int i = 0; i < c.head_dim; ++i) {
        const float x = got[static_cast<size_t>((t * c.group + g) * c.head_dim + i)];
        ASSERT_NEAR(x, expected[static_cast<size_t>(i)], c.act == DType::kF32 ? 2e-5 : 5e-3)
            << "token " << t << " head " << g << " dim " << i << " mode " << c.rule.mode << " C "
            << c.context << " seed " << c.seed;
      }
    }
}

TEST(CpuAttention, EqualsTheOracle) {
  std::mt19937 rng(11);
  const auto pick = [&](std::initializer_list<int> list) {
    return *(list.begin() + rng() % list.size());
  };
  for (uint64_t seed = 0; seed < 120; ++seed) {
    Case c{};
    c.seed = seed;
    c.head_dim = pick({16, 24, 32, 64, 80, 128});
    c.group = pick({1, 2, 3, 4, 7});
    c.page_size = pick({4, 8, 16, 32, 256});
    c.rule.mode = static_cast<Rule::Mode>(rng() % 5);
    c.rule.g = pick({4, 8, 32});
    c.context = c.rule.mode == Rule::kPrefixFull ? 0 : static_cast<int>(rng() % 20) * c.rule.g / 2;
    c.tokens = 1 + static_cast<int>(rng() % 70);
    c.rule.prompt = 1 + static_cast<int>(rng() % 60);
    c.rule.padded = (c.rule.prompt + c.rule.g - 1) / c.rule.g * c.rule.g;
    c.rule.hole = rng() % 3 == 0;
    c.rule.window = rng() % 3 == 0 ? 1 + static_cast<int>(rng() % 40) : 0;
    c.kv = rng() % 2 == 0 ? DType::kF32 : DType::kBF16;
    c.act = rng() % 2 == 0 ? DType::kF32 : DType::kBF16;
    expect_oracle(c);
    if (HasFatalFailure()) return;
  }
}

TEST(CpuAttention, LargeHeads) {
  for (const int head_dim : {256, 512})
    expect_oracle({head_dim,
                   8,
                   16,
                   96,
                   40,
                   DType::kF32,
                   DType::kF32,
                   {Rule::kBlockCausal, 8, 0, 0, 0, false},
                   5});
}

// The layout of pages, and how much of a request is cached, leave no trace in the result.
TEST(CpuAttention, BitIdenticalForEveryPageSizeAndSplit) {
  const Rule rule{Rule::kBlockCausal, 8, 0, 0, 0, false};
  const std::vector<float> reference = run({64, 2, 8, 0, 160, DType::kF32, DType::kF32, rule, 9});
  for (const int page_size : {4, 8, 32, 64, 256})
    for (const int context : {8, 64, 96, 152}) {
      const std::vector<float> got =
          run({64, 2, page_size, context, 160 - context, DType::kF32, DType::kF32, rule, 9});
      const size_t tail = reference.size() - got.size();
      EXPECT_EQ(std::memcmp(got.data(), reference.data() + tail, got.size() * sizeof(float)), 0)
          << page_size << " " << context;
    }
}

}  // namespace
}  // namespace diffulex
