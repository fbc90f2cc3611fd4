#include "backend/warm_up.h"

#include <algorithm>
#include <numeric>

#include "backend/chain.h"

namespace diffulex {
namespace {

constexpr size_t kAlignment = 16;        // of every vector in a plan
constexpr int32_t kMostBlockSize = 256;  // as the option block_size has it

// Blocks of a full window, as few as they may be: nobody but the decisions sees them.
int32_t blocks_of(int32_t window) {
  int32_t blocks = (window + kMostBlockSize - 1) / kMostBlockSize;
  while (window % blocks != 0) ++blocks;
  return blocks;
}

int32_t cached_positions(const BackendConfig& config) {
  return config.max_pages_per_request * config.page_size;
}

// Of what the row reads, and of what a step behind it may store.
uint32_t pages_of(const BackendConfig& config, const RequestRow& row, const WarmUpStep& step) {
  const int32_t end = row.context_len + (step.denoises ? step.rows : 0);
  return static_cast<uint32_t>(
      std::min((end + config.page_size - 1) / config.page_size, config.max_pages_per_request));
}

void open_window(const ArchSpec& arch, const BackendConfig& config, RequestRow& row) {
  decide::MultiBlockParams& p = row.blocks;
  p.buffer_blocks = blocks_of(config.window_stride);
  p.block_size = config.window_stride / p.buffer_blocks;
  p.mask_token = arch.mask_token;
  p.add_block_fill = p.semi_fill = p.block_size;
  p.accept_threshold = 1;
  decide::Window& w = row.window;
  w.left = row.context_len;
  w.valid = p.buffer_blocks;
  w.limit = w.left + 2 * config.window_stride;
  w.first_stop = -1;
  for (int i = 0; i < w.valid; ++i) {
    w.blocks[i].status = decide::kActive;
    w.blocks[i].masks = static_cast<uint16_t>(p.block_size);
  }
  set_part(row, config.window_stride, 0, 0, 0);
}

}  // namespace

WarmUpStep decode_step(const BackendConfig& config, int32_t requests) {
  const int32_t rows = std::min(config.max_tokens, config.max_head_rows);
  const int32_t room = config.window_stride == 0 ? 0 : rows / config.window_stride;
  return {std::min({requests, config.max_requests, room}), config.window_stride, 0, true, 0};
}

std::vector<WarmUpStep> warm_up_steps(const BackendConfig& config) {
  const int32_t cached = cached_positions(config);
  const int32_t prompts =
      std::clamp((config.max_tokens + cached - 1) / cached, 1, config.max_requests);
  std::vector<WarmUpStep> steps = {
      {prompts, std::min(config.max_tokens / prompts, cached), 0, false, 0}};
  WarmUpStep most = decode_step(config, config.max_requests);
  if (most.requests == 0) return steps;
  most.context = cached;
  steps.push_back(most);
  most.temperature = 1;
  steps.push_back(most);
  steps.push_back(decode_step(config, 1));
  return steps;
}

flatbuffers::DetachedBuffer warm_up_plan(const ArchSpec& arch, const BackendConfig& config,
                                         const WarmUpStep& step) {
  const auto all = static_cast<size_t>(step.requests) * static_cast<size_t>(step.rows);
  const std::vector<int32_t> tokens(all, step.denoises ? arch.mask_token : 0);
  std::vector<int32_t> heads(step.denoises ? all : 0), pages;
  std::iota(heads.begin(), heads.end(), 0);
  std::vector<RequestRow> rows(static_cast<size_t>(step.requests));
  for (int32_t i = 0; i < step.requests; ++i) {
    RequestRow& row = rows[static_cast<size_t>(i)];
    row.slot = static_cast<uint32_t>(i);
    row.first_token = static_cast<uint32_t>(i * step.rows);
    row.head_begin = step.denoises ? row.first_token : 0;
    row.context_len = i == 0 ? step.context : 0;
    row.attention = {decide::kBlockCausal, std::max(config.window_stride, 1), 0, 0, 0};
    row.sampler = {step.temperature, 1, 0, 0, 0};
    if (step.denoises)
      open_window(arch, config, row);
    else
      set_part(row, step.rows, 0, -1, 0);
    row.carry_row = -1;
    row.page_begin = static_cast<uint32_t>(pages.size());
    row.page_count = pages_of(config, row, step);
    pages.resize(pages.size() + row.page_count, 0);
  }
  flatbuffers::FlatBufferBuilder builder(4096, nullptr, false, kAlignment);
  const auto ints = [&](const std::vector<int32_t>& v) {
    builder.ForceVectorAlignment(v.size(), sizeof(int32_t), kAlignment);
    return builder.CreateVector(v);
  };
  const auto tokens_at = ints(tokens), heads_at = ints(heads), pages_at = ints(pages);
  const size_t bytes = rows.size() * sizeof(RequestRow);
  builder.ForceVectorAlignment(bytes, 1, kAlignment);
  const auto rows_at = builder.CreateVector(reinterpret_cast<const uint8_t*>(rows.data()), bytes);
  builder.Finish(wire::CreateStepPlan(builder, 0, rows_at, tokens_at, heads_at, pages_at));
  return builder.Release();
}

}  // namespace diffulex
