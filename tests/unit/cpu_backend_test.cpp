// The CPU backend as a whole: against the dense oracle, bit-identity, selection, decisions, bad
// plans, warm steps.
#include <gtest/gtest.h>
#include <omp.h>

#include <cmath>

#include "base/error.h"
#include "decide/multi_block.h"
#include "oracle/dense.h"
#include "unit/cpu_harness.h"

namespace diffulex {
namespace {

using diffulex_oracle::Dense;
using diffulex_oracle::DenseShape;
using diffulex_oracle::Rule;
using testing::iota;
using testing::PlanBuilder;
using testing::random_model;
using testing::small_config;

ArchSpec make_arch(int hidden, int heads, int kv_heads, int dim, int mlp, int vocabulary) {
  ArchSpec a;
  a.hidden_size = hidden;
  a.heads = heads;
  a.layers.assign(2, {kv_heads, dim, mlp, 0, 1e4f});
  a.vocab_size = a.token_count = vocabulary;
  a.attention_scale = 1.0f / std::sqrt(static_cast<float>(dim));
  return a;
}

DenseShape shape_of(const ArchSpec& a) {
  DenseShape s{a.hidden_size,
               a.heads,
               a.layers[0].kv_heads,
               a.layers[0].head_dim,
               2,
               a.norm_eps,
               a.layers[0].rope_theta,
               a.attention_scale,
               a.qk_norm,
               a.qkv_bias,
               a.output_bias,
               a.tied_embeddings,
               {}};
  for (const LayerSpec& l : a.layers) s.windows.push_back(l.sliding_window);
  return s;
}

std::vector<int32_t> random_ids(size_t count, int vocabulary, uint64_t seed) {
  std::mt19937_64 rng(seed);
  std::vector<int32_t> ids;
  for (size_t i = 0; i < count; ++i)
    ids.push_back(static_cast<int32_t>(rng() % static_cast<uint64_t>(vocabulary)));
  return ids;
}

std::vector<ArchSpec> archs() {
  ArchSpec biased = make_arch(96, 6, 2, 24, 160, 700);
  biased.qkv_bias = biased.output_bias = true;
  ArchSpec sliding = make_arch(320, 8, 8, 80, 536, 1500);
  sliding.qk_norm = true;
  sliding.layers[1].sliding_window = 11;
  ArchSpec tied = make_arch(64, 7, 1, 16, 40, 2050);
  tied.tied_embeddings = true;
  return {biased, sliding, tied};
}

// Three requests in one step, one of them on a cached prefix.
TEST(CpuBackend, EqualsTheOracle) {
  for (const ArchSpec& arch : archs()) {
    const auto model = random_model(arch, 7);
    const Dense oracle(shape_of(arch), model->tensors);
    cpu::CpuBackend backend(arch, model->weights, small_config(DType::kF32, 2), nullptr);
    const size_t lengths[] = {37, 48, 5};
    std::vector<int32_t> ids[3];
    for (size_t i = 0; i < 3; ++i) ids[i] = random_ids(lengths[i], arch.vocab_size, i);
    PlanBuilder prefix, plan;
    prefix.add(2, {ids[1].begin(), ids[1].begin() + 24}, 0, 24, 24, iota(20, 8));
    backend.execute(prefix.finish());
    plan.add(0, ids[0], 0, 0, 3);
    plan.add(2, {ids[1].begin() + 24, ids[1].end()}, 24, 8, 0);
    plan.add(1, ids[2], 0, 0, 5).attention.mode = decide::kUnmasked;
    plan.rows[2].attention.mode = decide::kPrefixCausal;
    std::vector<float> logits((34 + 24) * static_cast<size_t>(arch.vocab_size));
    backend.execute_tapped(plan.finish(), logits.data());
    const auto a = oracle.forward(ids[0], {Rule::kBlockCausal, 8, 0, 0, 0, false});
    const auto b = oracle.forward(ids[1], {Rule::kBlockCausal, 8, 0, 0, 0, false});
    for (size_t r = 0; r < 58; ++r)
      for (size_t i = 0; i < static_cast<size_t>(arch.vocab_size); ++i) {
        const double expected = r < 34 ? a[r + 3][i] : b[r - 34 + 24][i];
        ASSERT_NEAR(logits[r * static_cast<size_t>(arch.vocab_size) + i], expected, 2e-4)
            << r << " " << i << " hidden " << arch.hidden_size;
      }
  }
}

// Three requests at once, the last two of them also alone. int8 rounds every activation to one of
// 255 steps of its row: the bound is what two layers of random weights make of it.
TEST(CpuBackend, Int8IsNearTheOracleWhateverElseIsInTheStep) {
  for (const ArchSpec& arch : archs()) {
    const auto model = random_model(arch, 7);
    const Dense oracle(shape_of(arch), model->tensors);
    cpu::CpuBackend backend(arch, model->weights, small_config(DType::kI8, 2), nullptr);
    const size_t width = static_cast<size_t>(arch.vocab_size);
    std::vector<int32_t> ids[3];
    PlanBuilder all;
    for (uint32_t i = 0; i < 3; ++i) {
      ids[i] = random_ids(i == 0 ? 130 : 7 + i, arch.vocab_size, i);
      all.add(i, ids[i], 0, 0, 0);
    }
    const size_t rows = ids[0].size() + ids[1].size() + ids[2].size();
    std::vector<float> logits(rows * width);
    backend.execute_tapped(all.finish(), logits.data());
    double difference = 0, size = 0;
    size_t at = 0;
    for (uint32_t i = 0; i < 3; ++i) {
      for (const auto& line : oracle.forward(ids[i], {Rule::kBlockCausal, 8, 0, 0, 0, false})) {
        for (size_t n = 0; n < width; ++n) {
          const double expected = line[n], error = logits[at * width + n] - expected;
          difference += error * error;
          size += expected * expected;
        }
        ++at;
      }
      if (i == 0) continue;
      PlanBuilder one;
      one.add(3, ids[i], 0, 0, 0);
      std::vector<float> alone(ids[i].size() * width);
      backend.execute_tapped(one.finish(), alone.data());
      EXPECT_EQ(std::memcmp(alone.data(), logits.data() + (at - ids[i].size()) * width,
                            alone.size() * sizeof(float)),
                0)
          << i << " hidden " << arch.hidden_size;
    }
    EXPECT_LT(std::sqrt(difference / size), 0.04) << "hidden " << arch.hidden_size;
    std::printf("hidden %d: relative RMS error of int8 logits %.4f\n", arch.hidden_size,
                std::sqrt(difference / size));
  }
}

// An embedding is not quantised, not even one that is the head's matrix as well.
TEST(CpuBackend, Int8KeepsTheEmbedding) {
  ArchSpec arch = make_arch(80, 4, 2, 16, 64, 700);
  for (const bool tied : {false, true}) {
    arch.tied_embeddings = tied;
    const auto model = random_model(arch, 16);
    cpu::Team team(2);
    const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
    const cpu::PackedModel packed(arch, model->weights, DType::kI8, engine, team, nullptr);
    std::vector<float> row(80);
    for (const int32_t token : {0, 13, 699}) {
      packed.embed(token, {row.data(), 80, 80, 80}, 0);
      for (int64_t i = 0; i < 80; ++i)
        ASSERT_EQ(row[static_cast<size_t>(i)],
                  model->tensors.at("model.embed_tokens.weight").at(int64_t{token} * 80 + i));
    }
    // The head once in int8, the embedding in bf16, and layers that are half of bf16 and scales.
    const uint64_t planned = cpu::PackedModel::planned_bytes(arch, DType::kI8);
    const uint64_t wide = cpu::PackedModel::planned_bytes(arch, DType::kBF16);
    EXPECT_EQ(planned > wide, tied);
    EXPECT_GE(packed.bytes(), planned);
    EXPECT_LT(packed.bytes(), planned + planned / 2);  // padding of small matrices
  }
}

TEST(CpuBackend, BitIdenticalForAllThreadCountsAndPageSizes) {
  for (const DType dtype : {DType::kF32, DType::kBF16, DType::kI8}) {
    if (dtype == DType::kBF16 && cpu::best_weight_dtype() != dtype) continue;
    const ArchSpec arch = archs()[1];
    const auto model = random_model(arch, 8);
    const auto ids = random_ids(160, arch.vocab_size, 3);
    std::vector<float> reference;
    std::vector<decide::Pick> picks;
    for (const int threads : {1, 2, 3, 5})
      for (const int page_size : {1, 8, 32}) {
        cpu::CpuBackend backend(arch, model->weights, small_config(dtype, threads, page_size),
                                nullptr);
        PlanBuilder prefix, plan;
        prefix.add(0, {ids.begin(), ids.begin() + 24}, 0, 24, 24, iota(1, 200 / page_size));
        backend.execute(prefix.finish());
        plan.add(0, {ids.begin() + 24, ids.end()}, 24, 0, 100).sampler = {0.7f, 1, 0,
                                                                          decide::kWantEntropy, 99};
        std::vector<float> logits(36 * 1500);
        const StepResult result = backend.execute_tapped(plan.finish(), logits.data());
        if (reference.empty()) {
          reference = logits;
          picks.assign(result.picks.begin(), result.picks.end());
        }
        EXPECT_EQ(std::memcmp(logits.data(), reference.data(), logits.size() * sizeof(float)), 0)
            << threads << " " << page_size;
        EXPECT_EQ(
            std::memcmp(result.picks.data(), picks.data(), picks.size() * sizeof(decide::Pick)), 0);
      }
  }
}

// A row's candidates by sorting everything: kept ids with their probability.
std::map<int, double> naive(const float* logits, int n, const decide::SamplerParams& s, int mask) {
  std::vector<std::pair<double, int>> order;
  for (int i = 0; i < n; ++i)
    if (i != mask && std::isfinite(logits[i])) order.push_back({logits[i] / s.temperature, i});
  std::sort(order.rbegin(), order.rend());
  double all = 0, before = 0, kept = 0;
  for (const auto& [l, i] : order) all += std::exp(l - order[0].first);
  size_t count = 0;
  for (; count < order.size(); ++count) {
    if (count > 0 && s.top_p < 1 && before > s.top_p) break;
    if (s.min_p > 0 && std::exp(order[count].first - order[0].first) < s.min_p) break;
    if (s.top_k > 0 && count >= static_cast<size_t>(s.top_k) &&
        order[count].first < order[static_cast<size_t>(s.top_k) - 1].first)
      break;
    before += std::exp(order[count].first - order[0].first) / all;
  }
  std::map<int, double> probabilities;
  for (size_t i = 0; i < count; ++i) kept += std::exp(order[i].first - order[0].first);
  for (size_t i = 0; i < count; ++i)
    probabilities[order[i].second] = std::exp(order[i].first - order[0].first) / kept;
  return probabilities;
}

// Vocabulary larger than the candidate lists, so that a wide nucleus takes the exact path.
TEST(CpuBackend, SelectsFromItsOwnLogits) {
  ArchSpec arch = make_arch(64, 4, 2, 16, 64, 6000);
  arch.token_count = 5900;
  const auto model = random_model(arch, 9);
  cpu::CpuBackend backend(arch, model->weights, small_config(DType::kF32, 3), nullptr);
  const auto ids = random_ids(140, 5900, 4);  // two chunks of head rows
  const decide::SamplerParams samplers[] = {
      {1, 1, 0, 0, 5},           {0.6f, 1, 0, 0, 5},       {1, 0.5f, 0, 0, 5},
      {1, 1, 5, 0, 5},           {4, 0.995f, 0, 0, 5},     {50, 0.98f, 0, 0, 5},
      {1, 0.9f, 300, 0, 5},      {1, 1, 0, 0, 5, 0.3f, 0}, {9, 0.99f, 0, 0, 5, 0.2f, 0},
      {4, 1, 40, 0, 5, 0.05f, 0}};
  for (const decide::SamplerParams& sampler : samplers) {
    PlanBuilder plan;
    RequestRow& row = plan.add(0, ids, 0, 0, 0);
    row.sampler = sampler;
    row.blocks.mask_token = 17;
    std::vector<float> logits(140 * 6000);
    const StepResult result = backend.execute_tapped(plan.finish(), logits.data());
    for (size_t r = 0; r < 140; ++r) {
      const auto expected = naive(logits.data() + r * 6000, 5900, sampler, 17);
      const decide::Pick pick = result.picks[r];
      ASSERT_EQ(expected.count(pick.token), 1u)
          << r << " token " << pick.token << " top_p " << sampler.top_p;
      EXPECT_NEAR(pick.confidence / expected.at(pick.token), 1, 2e-3);
    }
  }
}

// A model that predicts a token from the row before it: the first row of the second forward is one
// that the first forward kept.
TEST(CpuBackend, CarriesARowToTheNextForward) {
  for (const DType dtype : {DType::kF32, DType::kBF16, DType::kI8}) {
    if (dtype == DType::kBF16 && cpu::best_weight_dtype() != dtype) continue;
    const ArchSpec arch = archs()[0];
    const auto model = random_model(arch, 14);
    BackendConfig config = small_config(dtype, 2);
    config.carry_rows = true;
    const double tolerance = dtype == DType::kF32 ? 1e-4 : 5e-2;
    cpu::CpuBackend backend(arch, model->weights, config, nullptr);
    const auto ids = random_ids(24, arch.vocab_size, 6);
    const size_t width = static_cast<size_t>(arch.vocab_size);
    std::vector<float> whole(24 * width), later(8 * width);
    PlanBuilder at_once;
    at_once.add(0, ids, 0, 0, 0);
    backend.execute_tapped(at_once.finish(), whole.data());

    PlanBuilder prefix, other, plan;
    prefix.add(1, {ids.begin(), ids.begin() + 16}, 0, 16, 16, iota(8, 4)).carry_row = 15;
    other.add(2, random_ids(16, arch.vocab_size, 7), 0, 16, 16, iota(20, 4)).carry_row = 15;
    backend.execute(prefix.finish());
    backend.execute(other.finish());  // another slot keeps its own
    const auto shifted = [&](PlanBuilder& p) {
      RequestRow& row = p.add(1, {ids.begin() + 16, ids.end()}, 16, 0, 0);
      row.blocks.shift = 1;
      p.head_rows = {kCarriedRow, 0, 1, 2, 3, 4, 5, 6};
    };
    shifted(plan);
    backend.execute_tapped(plan.finish(), later.data());
    for (size_t i = 0; i < later.size(); ++i)
      ASSERT_NEAR(later[i], whole[15 * width + i], tolerance) << i;

    // Only the row in front of the forward's first one will do.
    PlanBuilder wrong;
    shifted(wrong);
    wrong.rows[0].slot = 3;
    EXPECT_THROW(backend.execute(wrong.finish()), Error);
  }
}

TEST(CpuBackend, AdjustsLogitsBeforeItSelects) {
  const ArchSpec arch = make_arch(64, 4, 2, 16, 64, 6000);
  const auto model = random_model(arch, 15);
  cpu::CpuBackend backend(arch, model->weights, small_config(DType::kF32, 2), nullptr);
  const auto ids = random_ids(30, 6000, 8);
  std::vector<float> logits(30 * 6000);
  PlanBuilder plain;
  plain.add(0, ids, 0, 0, 0);
  const StepResult result = backend.execute_tapped(plain.finish(), logits.data());
  std::vector<decide::Pick> before(result.picks.begin(), result.picks.end());
  // Ban every token that was chosen, and favour one that was not.
  std::map<int32_t, decide::LogitAdjust> list;
  for (const decide::Pick& pick : before)
    list[pick.token] = {pick.token, pick.token % 2 == 0 ? -HUGE_VALF : 0.0f, 3.0f};
  list[5999] = {5999, 0.5f, 1};
  for (const float temperature : {0.0f, 2.0f, 60.0f}) {  // the last one sorts whole rows
    PlanBuilder plan;
    RequestRow& row = plan.add(0, ids, 0, 0, 0);
    row.sampler.temperature = temperature;
    row.sampler.top_p = temperature > 2 ? 0.98f : 1;
    for (const auto& [token, adjust] : list) plan.adjustments.push_back(adjust);
    row.adjust_count = static_cast<uint32_t>(list.size());
    const StepResult adjusted = backend.execute(plan.finish());
    for (size_t r = 0; r < 30; ++r) {
      std::vector<float> line(logits.begin() + static_cast<ptrdiff_t>(r * 6000),
                              logits.begin() + static_cast<ptrdiff_t>((r + 1) * 6000));
      for (const auto& [token, adjust] : list) {
        float& l = line[static_cast<size_t>(token)];
        l = (l > 0 ? l / adjust.penalty : l * adjust.penalty) + adjust.bias;
      }
      const decide::Pick pick = adjusted.picks[r];
      if (temperature == 0) {
        EXPECT_EQ(line[static_cast<size_t>(pick.token)],
                  *std::max_element(line.begin(), line.end()));
        continue;
      }
      const auto expected = naive(line.data(), 6000, row.sampler, -1);
      ASSERT_EQ(expected.count(pick.token), 1u);
      EXPECT_NEAR(pick.confidence / expected.at(pick.token), 1, 2e-3);
    }
  }
}

RequestRow& add_window(PlanBuilder& plan, const std::vector<int32_t>& ids) {
  RequestRow& row = plan.add(0, ids, 0, 8, 8, iota(0, 4));
  row.window_offset = 0;
  row.stored_blocks = 1;
  row.blocks = {8, 4, 1023, 1, 8, 0.5f, 0, 1, 1, {1022}, 0, 0};
  row.window.left = 0;
  row.window.valid = 2;
  row.window.limit = 32;
  row.window.limit_reason = decide::kMaxTokens;
  row.window.first_stop = -1;
  for (int i = 0; i < 4; ++i) row.window.blocks[i] = {decide::kDummy, 0, 0, 8, 0, 0, 0};
  row.window.blocks[0] = {decide::kToCache, 1, 0, 0, 0, 0, 0};
  row.window.blocks[1].status = decide::kActive;
  return row;
}

TEST(CpuBackend, DecidesAsTheHostWould) {
  const auto model = random_model(make_arch(64, 4, 2, 16, 64, 1024), 10);
  cpu::CpuBackend backend(model->arch, model->weights, small_config(), nullptr);
  std::vector<int32_t> ids = random_ids(8, 1000, 5);
  ids.resize(16, 1023);
  PlanBuilder plan;
  const RequestRow row = add_window(plan, ids);
  const StepResult result = backend.execute(plan.finish());
  decide::Window window = row.window;
  std::vector<int32_t> tokens(32, 1023);
  std::copy(ids.begin(), ids.end(), tokens.begin());
  decide::multi_block_step(row.blocks, window, tokens.data(), result.picks.data(), 1);
  EXPECT_EQ(std::memcmp(&window, &result.windows[0], sizeof window), 0);
  EXPECT_EQ(tokens, std::vector<int32_t>(result.tokens.begin(), result.tokens.end()));
  EXPECT_EQ(window.left, 8);
  EXPECT_GE(window.revealed, 1);

  PlanBuilder before;
  before.add(0, ids, 0, 0, 16).window.forwards = 41;
  EXPECT_EQ(backend.execute(before.finish()).windows[0].forwards, 42);
}

TEST(CpuBackend, RefusesBadPlans) {
  const auto model = random_model(make_arch(64, 4, 2, 16, 64, 1024), 11);
  cpu::CpuBackend backend(model->arch, model->weights, small_config(), nullptr);
  std::vector<int32_t> ids = random_ids(8, 1000, 5);
  ids.resize(16, 1023);
  using Break = void (*)(PlanBuilder&);
  const Break breaks[] = {[](PlanBuilder& p) { p.rows[0].slot = 4; },
                          [](PlanBuilder& p) { p.rows[0].first_token = 1; },
                          [](PlanBuilder& p) { p.rows[0].token_count = 17; },
                          [](PlanBuilder& p) { p.rows[0].context_len = -1; },
                          [](PlanBuilder& p) { p.rows[0].context_len = 1 << 30; },
                          [](PlanBuilder& p) { p.rows[0].context_len = 100; },
                          [](PlanBuilder& p) { p.rows[0].store_len = 17; },
                          [](PlanBuilder& p) { p.rows[0].head_count = 9; },
                          [](PlanBuilder& p) { p.head_rows[0] = 16; },
                          [](PlanBuilder& p) { p.head_rows[1] = p.head_rows[0]; },
                          [](PlanBuilder& p) { p.rows[0].table_offset = 31; },
                          [](PlanBuilder& p) { p.pages[1] = 128; },
                          [](PlanBuilder& p) { p.pages[1] = -1; },
                          [](PlanBuilder& p) { p.tokens[3] = 1024; },
                          [](PlanBuilder& p) { p.tokens[3] = -1; },
                          [](PlanBuilder& p) { p.rows[0].window_offset = 1; },
                          [](PlanBuilder& p) { p.rows[0].window.valid = 5; },
                          [](PlanBuilder& p) { p.rows[0].blocks.buffer_blocks = 40; },
                          [](PlanBuilder& p) { p.rows[0].stored_blocks = 3; },
                          [](PlanBuilder& p) { p.rows[0].attention.granularity = 0; },
                          [](PlanBuilder& p) { p.rows[0].attention.mode = 9; },
                          [](PlanBuilder& p) { p.rows[0].blocks.stop_count = 17; },
                          [](PlanBuilder& p) { p.rows[0].carry_row = 0; },
                          [](PlanBuilder& p) { p.head_rows[0] = kCarriedRow; },
                          [](PlanBuilder& p) { p.rows[0].adjust_count = 1; },
                          [](PlanBuilder& p) {
                            p.adjustments = {{5, 0, 1}, {5, 0, 1}}, p.rows[0].adjust_count = 2;
                          },
                          [](PlanBuilder& p) {
                            p.adjustments = {{5, 0, 0}}, p.rows[0].adjust_count = 1;
                          },
                          [](PlanBuilder& p) {
                            p.tokens[2] = 1023, p.rows[0].window.blocks[0].status = decide::kActive;
                          }};
  for (const Break spoil : breaks) {
    PlanBuilder plan;
    add_window(plan, ids);
    spoil(plan);
    try {
      backend.execute(plan.finish());
      ADD_FAILURE() << "accepted plan " << (&spoil - breaks);
    } catch (const Error& e) {
      EXPECT_EQ(e.status(), DIFFULEX_E_INTERNAL);
    }
  }
  PlanBuilder good;
  add_window(good, ids);
  EXPECT_NO_THROW(backend.execute(good.finish()));
}

TEST(CpuBackend, ReportsProgressAndCanBeCancelled) {
  const auto model = random_model(make_arch(64, 4, 2, 16, 64, 1024), 12);
  uint64_t last = 0, total = 0;
  const auto watch = [&](uint64_t done, uint64_t all, const std::string& item) {
    EXPECT_GT(done, last);
    EXPECT_FALSE(item.empty());
    last = done;
    total = all;
    return true;
  };
  const auto backend = cpu::create(model->arch, model->weights, small_config(), watch);
  EXPECT_EQ(last, total);
  EXPECT_GT(backend->memory().weights, 0u);
  EXPECT_NE(backend->kernels().find("oneDNN"), std::string::npos);
  try {
    cpu::create(model->arch, model->weights, small_config(),
                [](uint64_t done, uint64_t all, const std::string&) { return done * 2 < all; });
    ADD_FAILURE();
  } catch (const Error& e) {
    EXPECT_EQ(e.status(), DIFFULEX_E_CANCELLED);
  }
}

TEST(CpuBackend, LeavesTheCallersOpenMpSettingAlone) {
  const auto model = random_model(make_arch(64, 4, 2, 16, 64, 1024), 13);
  const int before = omp_get_max_threads();
  omp_set_num_threads(7);
  cpu::CpuBackend backend(model->arch, model->weights, small_config(DType::kF32, 2), nullptr);
  PlanBuilder plan;
  plan.add(0, random_ids(9, 1024, 1), 0, 0, 0);
  backend.execute(plan.finish());
  EXPECT_EQ(omp_get_max_threads(), 7);
  omp_set_num_threads(before);
}

}  // namespace
}  // namespace diffulex
