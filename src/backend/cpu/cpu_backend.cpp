// The CPU backend: checks a plan, runs the team over it, decides, and hands the result back.
#include <dnnl.hpp>
#include <omp.h>

#include <algorithm>
#include <cstring>

#include "backend/cpu/candidates.h"
#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/forward.h"
#include "backend/cpu/kernels.h"
#include "base/error.h"
#include "decide/multi_block.h"
#include "model/body.h"

namespace diffulex::cpu {
namespace {

// oneDNN computes in the calling thread while this stands; the caller's own setting comes back.
class SingleThreadedOpenMp {
 public:
  SingleThreadedOpenMp() : before_(omp_get_max_threads()) { omp_set_num_threads(1); }
  ~SingleThreadedOpenMp() { omp_set_num_threads(before_); }
  SingleThreadedOpenMp(const SingleThreadedOpenMp&) = delete;
  SingleThreadedOpenMp& operator=(const SingleThreadedOpenMp&) = delete;

 private:
  int before_;
};

[[noreturn]] void bad_plan(const char* what) { throw Error(DIFFULEX_E_INTERNAL, std::string("step plan: ") + what); }

void check_row(const RequestRow& row, const BackendConfig& c, size_t tokens, size_t heads, size_t pages) {
  const auto in = [](uint64_t begin, uint64_t count, uint64_t size) { return begin <= size && count <= size - begin; };
  const auto end = static_cast<int64_t>(row.context_len) + row.token_count;
  const int64_t stored = static_cast<int64_t>(row.context_len) + row.store_len;
  if (row.slot >= static_cast<uint32_t>(c.max_requests)) bad_plan("slot out of range");
  if (row.token_count == 0 || !in(row.first_token, row.token_count, tokens)) bad_plan("tokens out of range");
  if (!in(row.head_begin, row.head_count, heads)) bad_plan("head rows out of range");
  if (!in(row.page_begin, row.page_count, pages)) bad_plan("pages out of range");
  if (!in(row.table_offset, row.page_count, static_cast<uint64_t>(c.max_pages_per_request))) bad_plan("page table out of range");
  const auto mapped = (static_cast<int64_t>(row.table_offset) + row.page_count) * c.page_size;
  if (row.context_len < 0 || row.store_len < 0 || static_cast<uint32_t>(row.store_len) > row.token_count || stored > mapped)
    bad_plan("stored positions without pages");
  if (end > static_cast<int64_t>(c.max_pages_per_request) * c.page_size + c.window_stride) bad_plan("positions out of range");
  if (row.blocks.block_size * row.blocks.buffer_blocks != c.window_stride) bad_plan("window of another size");
  if (row.window_offset >= static_cast<int32_t>(row.token_count)) bad_plan("window out of range");
}

}  // namespace

CpuBackend::CpuBackend(const ArchSpec& arch, const ModelWeights& weights, const BackendConfig& config, const LoadProgress& progress)
    : arch_(arch),
      config_(config),
      team_(config.threads),
      matmul_(config.weight_dtype, config.threads),
      work_(arch, config),
      candidates_(static_cast<size_t>(config.threads)),
      wide_(static_cast<size_t>(config.max_head_rows)),
      claims_(operation_count(arch, config.max_head_rows)) {
  const SingleThreadedOpenMp single;
  model_ = pack_model(arch_, weights, matmul_, progress);
}

std::string CpuBackend::kernels() const {
  const dnnl_version_t* v = dnnl_version();
  return std::string("cpu ") + simd_name() + " oneDNN " + std::to_string(v->major) + "." + std::to_string(v->minor) + "." +
         std::to_string(v->patch) + " " + std::string(name_of(config_.weight_dtype));
}

void CpuBackend::read_plan(const wire::StepPlan& plan) {
  if (plan.requests() == nullptr || plan.requests()->size() % sizeof(RequestRow) != 0) bad_plan("request rows");
  if (plan.tokens() == nullptr || plan.head_rows() == nullptr || plan.pages() == nullptr) bad_plan("a vector is missing");
  requests_ = {reinterpret_cast<const RequestRow*>(plan.requests()->Data()), plan.requests()->size() / sizeof(RequestRow)};
  tokens_ = {plan.tokens()->data(), plan.tokens()->size()};
  head_rows_ = {plan.head_rows()->data(), plan.head_rows()->size()};
  if (requests_.size() > static_cast<size_t>(config_.max_requests) || tokens_.size() > static_cast<size_t>(config_.max_tokens) ||
      head_rows_.size() > static_cast<size_t>(config_.max_head_rows))
    bad_plan("more rows than the backend was made for");
  for (const int32_t token : tokens_)
    if (token < 0 || token >= arch_.vocab_size) bad_plan("token id out of range");
  for (size_t r = 0; r < requests_.size(); ++r) {
    const RequestRow& row = requests_[r];
    check_row(row, config_, tokens_.size(), head_rows_.size(), plan.pages()->size());
    for (uint32_t i = 0; i < row.token_count; ++i) {
      work_.row_request[row.first_token + i] = static_cast<int32_t>(r);
      work_.row_position[row.first_token + i] = row.context_len + static_cast<int32_t>(i);
    }
    for (uint32_t i = 0; i < row.head_count; ++i) {
      const auto head = static_cast<uint32_t>(head_rows_[row.head_begin + i]);
      if (head < row.first_token || head >= row.first_token + row.token_count) bad_plan("head row of another request");
      work_.head_request[row.head_begin + i] = static_cast<int32_t>(r);
    }
    int32_t* table = &work_.tables[row.slot * static_cast<size_t>(config_.max_pages_per_request)];
    for (uint32_t i = 0; i < row.page_count; ++i) {
      const int32_t page = plan.pages()->Get(row.page_begin + i);
      if (page < 0 || page >= config_.kv_pages) bad_plan("page out of range");
      table[row.table_offset + i] = page;
    }
  }
}

// Every product of this step's shapes, so that the team only runs them.
void CpuBackend::prepare_products() {
  const auto each_piece = [](int rows, int piece, const auto& body) {
    if (rows >= piece) body(piece);
    if (rows % piece != 0) body(rows % piece);
  };
  each_piece(static_cast<int>(tokens_.size()), kMaxRows, [&](int rows) {
    for (const PackedLayer& layer : model_.layers) {
      matmul_.prepare(layer.qkv, rows, work_.qkv_stride, Write::kStore);
      matmul_.prepare(layer.output, rows, arch_.hidden_size, Write::kAdd);
      matmul_.prepare(layer.gate_up, rows, layer.gate_up.tile_n, Write::kStore);
      matmul_.prepare(layer.down, rows, arch_.hidden_size, Write::kAdd);
    }
  });
  each_piece(static_cast<int>(head_rows_.size()), kHeadRows,
             [&](int rows) { matmul_.prepare(model_.head, rows, model_.head.tile_n, Write::kStore); });
}

StepResult CpuBackend::execute(const wire::StepPlan& plan) {
  const SingleThreadedOpenMp single;
  read_plan(plan);
  prepare_products();
  const auto truncates = [](const RequestRow& r) { return r.sampler.temperature > 0 && (r.sampler.top_k > 0 || r.sampler.top_p < 1); };
  if (std::any_of(requests_.begin(), requests_.end(), truncates))
    for (CandidateLists& lists : candidates_) lists.reset(kHeadRows);
  std::fill(wide_.begin(), wide_.end(), 0);
  for (std::atomic<int32_t>& claim : claims_) claim.store(0, std::memory_order_relaxed);
  Step step{arch_, config_, model_, matmul_, work_, team_, requests_, tokens_, head_rows_, claims_, candidates_, wide_};
  const auto body = [&](int member) {
    Forward forward(step, member);
    transformer_body(arch_, forward);
    forward.head();
  };
  team_.run(body);
  for (size_t row = 0; row < head_rows_.size(); ++row)
    if (wide_[row] != 0) pick_wide_row(step, static_cast<int>(row));
  if (step.failed) throw Error(DIFFULEX_E_INTERNAL, "oneDNN failed to execute a matrix product");
  return decide_all();
}

// A row whose kept tokens are more than the candidates: all its logits, sorted. Slow, exact and rare.
void CpuBackend::pick_wide_row(Step& step, int row) {
  matmul_.prepare(model_.head, 1, model_.head.tile_n, Write::kStore);
  const RequestRow& request = requests_[static_cast<size_t>(work_.head_request[static_cast<size_t>(row)])];
  whole_row_.resize(static_cast<size_t>(model_.head.tile_count()) * decide::kTileIds);
  const auto body = [&](int member) { Forward(step, member).whole_row(row, whole_row_.data()); };
  team_.run(body);
  const int count = model_.head.n, tiles = model_.head.tile_count();
  std::vector<decide::Candidate> all;
  std::vector<decide::TilePartial> partials;
  for (int tile = 0; tile < tiles; ++tile) {
    const int first = tile * decide::kTileIds, width = std::min(decide::kTileIds, count - first);
    float* logits = whole_row_.data() + first;
    const int32_t banned = request.blocks.mask_token - first;
    if (banned >= 0 && banned < width) logits[banned] = -INFINITY;
    const bool entropy = (request.sampler.flags & decide::kWantEntropy) != 0;
    partials.push_back(reduce_tile(logits, width, first, 1.0f / request.sampler.temperature, entropy, nullptr));
    for (int i = 0; i < width; ++i)
      if (logits[i] > -INFINITY) all.push_back({logits[i], first + i});
  }
  std::sort(all.begin(), all.end(), decide::before);
  const decide::RowSums sums = decide::sum_tiles(partials.data(), tiles);
  const int kept = decide::kept_candidates(all.data(), static_cast<int>(all.size()), true, sums, request.sampler);
  const int32_t position = work_.row_position[static_cast<size_t>(head_rows_[static_cast<size_t>(row)])];
  work_.picks[static_cast<size_t>(row)] =
      decide::pick_from_candidates(all.data(), kept, sums, request.sampler, position, request.window.forwards);
}

std::vector<float> CpuBackend::logits_of(int row) {
  const SingleThreadedOpenMp single;
  matmul_.prepare(model_.head, 1, model_.head.tile_n, Write::kStore);
  std::vector<float> logits(static_cast<size_t>(model_.head.tile_count()) * decide::kTileIds);
  Step step{arch_, config_, model_, matmul_, work_, team_, requests_, tokens_, head_rows_, claims_, candidates_, wide_};
  const auto body = [&](int member) { Forward(step, member).whole_row(row, logits.data()); };
  team_.run(body);
  logits.resize(static_cast<size_t>(model_.head.n));
  return logits;
}

StepResult CpuBackend::decide_all() {
  const auto stride = static_cast<size_t>(config_.window_stride);
  for (size_t r = 0; r < requests_.size(); ++r) {
    const RequestRow& row = requests_[r];
    decide::Window& window = work_.windows[r] = row.window;
    int32_t* tokens = &work_.window_tokens[r * stride];
    std::fill_n(tokens, stride, row.blocks.mask_token);
    if (row.window_offset < 0) {
      ++window.forwards;
      continue;
    }
    const int32_t* from = tokens_.data() + row.first_token + row.window_offset;
    std::copy_n(from, window.valid * row.blocks.block_size, tokens);
    decide::multi_block_step(row.blocks, window, tokens, work_.picks.data() + row.head_begin, row.stored_blocks);
  }
  StepResult result;
  result.windows = {work_.windows.data(), requests_.size()};
  result.tokens = {work_.window_tokens.data(), requests_.size() * stride};
  result.window_stride = stride;
  result.picks = {work_.picks.data(), head_rows_.size()};
  return result;
}

DType best_weight_dtype() {
  return dnnl::get_effective_cpu_isa() >= dnnl::cpu_isa::avx512_core_bf16 ? DType::kBF16 : DType::kF32;
}

MemoryPlan plan_memory(const ArchSpec& arch, const BackendConfig& config) {
  MemoryPlan plan;
  plan.weights = packed_bytes(arch, config.weight_dtype);
  for (int layer = 0; layer < static_cast<int>(arch.layers.size()); ++layer)
    plan.kv += static_cast<uint64_t>(config.kv_pages) * static_cast<uint64_t>(config.page_size) * 2 *
               static_cast<uint64_t>(arch.kv_size(layer)) * size_of(config.kv_dtype);
  plan.workspace = workspace_bytes(arch, config);
  return plan;
}

std::unique_ptr<Backend> create(const ArchSpec& arch, const ModelWeights& weights, const BackendConfig& config,
                                const LoadProgress& progress) {
  if (config.weight_dtype == DType::kBF16 && dnnl::get_effective_cpu_isa() < dnnl::cpu_isa::avx512_core)
    throw Error(DIFFULEX_E_UNSUPPORTED, "this processor does not multiply bf16; use weight_dtype f32").with("option", "weight_dtype");
  try {
    return std::make_unique<CpuBackend>(arch, weights, config, progress);
  } catch (const dnnl::error& error) {
    throw Error(error.status == dnnl_out_of_memory ? DIFFULEX_E_HOST_MEMORY : DIFFULEX_E_INTERNAL,
                std::string("oneDNN: ") + error.what());
  }
}

}  // namespace diffulex::cpu
