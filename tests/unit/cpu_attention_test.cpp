// Paged attention against the oracle: random ragged requests, all masks, page sizes, head sizes,
// group ratios; what was never written holds NaN.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "backend/cpu/attention.h"
#include "backend/cpu/packed_matrix.h"
#include "oracle/attention.h"

namespace diffulex {
namespace {

using diffulex_oracle::Rule;

struct Case {
  int head_dim, group, page_size, context, tokens;
  DType kv = DType::kF32, act = DType::kF32;
  Rule rule;
  uint64_t seed;
  bool native = false;  // the processor's own bf16 kernels
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

// Elements of one type, NaN until set.
class Storage {
 public:
  Storage(size_t count, DType type) : type_(type), bytes_(count * size_of(type), std::byte{0xff}) {}
  void set(size_t i, float x) {
    const uint16_t h = cpu::to_bf16(x);
    if (type_ == DType::kF32)
      std::memcpy(bytes_.data() + i * 4, &x, 4);
    else
      std::memcpy(bytes_.data() + i * 2, &h, 2);
  }
  std::byte* data() { return bytes_.data(); }
  float get(size_t i) const { return cpu::to_float(bytes_.data(), type_, static_cast<int64_t>(i)); }

 private:
  DType type_;
  std::vector<std::byte> bytes_;
};

const cpu::AttentionKernels& kernels_of(const Case& c) {
  return c.native ? *cpu::bf16_attention() : cpu::portable_attention();
}

// [tokens, group, head_dim] of the one KV head.
std::vector<float> run(const Case& c) {
  const cpu::AttentionKernels& kernels = kernels_of(c);
  const auto d = static_cast<size_t>(c.head_dim);
  const int pages = (c.context + c.page_size - 1) / c.page_size;
  const int unused = 3;  // rows of other requests before and behind
  const size_t vectors = static_cast<size_t>(c.tokens * c.group), before = static_cast<size_t>(unused * c.group) * d;
  Storage k_pages(static_cast<size_t>(2 * pages + 1) * static_cast<size_t>(c.page_size) * d, c.kv), v_pages = k_pages;
  Storage k_new(static_cast<size_t>(c.tokens + 2 * unused) * d, c.kv), v_new = k_new;
  Storage q(2 * before + vectors * d, kernels.query_dtype), out(2 * before + vectors * d, c.act);
  std::vector<int32_t> table;
  for (int p = 0; p < pages; ++p) table.push_back(2 * (pages - 1 - p) + 1);  // scattered, backwards
  for (int p = 0; p < c.context; ++p) {
    if (c.rule.hole && p >= c.rule.prompt && p < c.rule.padded) continue;  // never written
    const size_t slot = static_cast<size_t>(table[static_cast<size_t>(p / c.page_size)] * c.page_size + p % c.page_size) * d;
    for (int i = 0; i < c.head_dim; ++i) {
      k_pages.set(slot + static_cast<size_t>(i), sample(c.seed, 0, p, i));
      v_pages.set(slot + static_cast<size_t>(i), sample(c.seed, 1, p, i));
    }
  }
  for (int t = 0; t < c.tokens; ++t)
    for (int i = 0; i < c.head_dim; ++i) {
      const size_t at = static_cast<size_t>(unused + t) * d + static_cast<size_t>(i);
      k_new.set(at, sample(c.seed, 0, c.context + t, i));
      v_new.set(at, sample(c.seed, 1, c.context + t, i));
      for (int g = 0; g < c.group; ++g)
        q.set(before + static_cast<size_t>(t * c.group + g) * d + static_cast<size_t>(i), sample(c.seed, 2 + g, c.context + t, i));
    }
  cpu::AttentionLayer layer;
  layer.kv = {c.kv, 1, c.head_dim, c.page_size, c.tokens + 2 * unused, k_pages.data(), v_pages.data(), k_new.data(), v_new.data()};
  layer.heads = c.group;
  layer.sliding_window = c.rule.window;
  layer.scale = 1.0f;
  layer.queries = q.data();
  if (c.act == DType::kF32)
    layer.out.f32 = reinterpret_cast<float*>(out.data());
  else
    layer.out.bf16 = reinterpret_cast<uint16_t*>(out.data());
  const cpu::AttentionRequest request{unused, c.tokens, c.context, table.data(),
                                      {c.rule.mode, c.rule.g, c.rule.prompt, c.rule.padded, c.rule.hole ? 1 : 0}};
  const cpu::AttentionScratch scratch(c.group, c.head_dim);
  const int step = cpu::attention_item_rows(c.group);
  for (int first = 0; first < c.tokens; first += step)
    cpu::attend(kernels, layer, request, first, std::min(step, c.tokens - first), 0, scratch);
  for (size_t i = 0; i < before; ++i) EXPECT_TRUE(std::isnan(out.get(i)) && std::isnan(out.get(before + vectors * d + i)));
  std::vector<float> result;
  for (size_t i = 0; i < vectors * d; ++i) result.push_back(out.get(before + i));
  return result;
}

void expect_oracle(const Case& c) {
  const std::vector<float> got = run(c);
  for (int t = 0; t < c.tokens; ++t)
    for (int g = 0; g < c.group; ++g) {
      const auto expected = diffulex_oracle::attend(
          c.rule, c.context + t, c.context, c.context + c.tokens, c.head_dim,
          [&](int i) { return rounded(sample(c.seed, 2 + g, c.context + t, i), kernels_of(c).query_dtype); },
          [&](int k, int i) { return rounded(sample(c.seed, 0, k, i), c.kv); },
          [&](int k, int i) { return rounded(sample(c.seed, 1, k, i), c.kv); });
      for (int i = 0; i < c.head_dim; ++i) {
        const float x = got[static_cast<size_t>((t * c.group + g) * c.head_dim + i)];
        ASSERT_NEAR(x, expected[static_cast<size_t>(i)], c.native ? 1.2e-2 : c.act == DType::kF32 ? 2e-5 : 5e-3)
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
  for (uint64_t seed = 0; seed < 200; ++seed) {
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
    c.native = c.kv == DType::kBF16 && cpu::bf16_attention() != nullptr && rng() % 2 == 0;
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
  for (const bool native : {false, true}) {
    if (native && cpu::bf16_attention() == nullptr) continue;
    const DType kv = native ? DType::kBF16 : DType::kF32;
    const std::vector<float> reference = run({64, 2, 8, 0, 160, kv, DType::kF32, rule, 9, native});
    for (const int page_size : {1, 4, 8, 32, 64, 256})
      for (const int context : {8, 64, 96, 152}) {
        const std::vector<float> got = run({64, 2, page_size, context, 160 - context, kv, DType::kF32, rule, 9, native});
        const size_t tail = reference.size() - got.size();
        EXPECT_EQ(std::memcmp(got.data(), reference.data() + tail, got.size() * sizeof(float)), 0) << page_size << " " << context;
      }
  }
}

}  // namespace
}  // namespace diffulex
