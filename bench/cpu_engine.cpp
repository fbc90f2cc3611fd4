#include "cpu_engine.h"

namespace diffulex_bench {

using namespace diffulex;

namespace {
constexpr int kPageSize = 32;
}

CpuEngine::CpuEngine(const RandomModel& model, const CpuEngineConfig& config)
    : vocabulary_(model.arch.vocab_size) {
  BackendConfig backend_config;
  backend_config.max_requests = 1;
  backend_config.max_tokens = backend_config.max_head_rows = kMaxRows;
  backend_config.page_size = kPageSize;
  backend_config.max_pages_per_request = (config.deepest + kMaxRows) / kPageSize;
  backend_config.kv_pages = backend_config.max_pages_per_request;
  backend_config.window_stride = 32;
  backend_config.weight_dtype = config.weights;
  backend_config.kv_dtype =
      config.weights == DType::kI8 ? cpu::best_weight_dtype() : config.weights;
  backend_config.threads = config.threads;
  pack_seconds = seconds([&] {
    backend = std::make_unique<cpu::CpuBackend>(model.arch, model.weights, backend_config, nullptr);
  });
  for (int i = 0; i < backend_config.max_pages_per_request; ++i) pages_.push_back(i);
}

void CpuEngine::run(int rows, int depth, int store, float* logits) {
  RequestRow row{};
  row.token_count = row.head_count = static_cast<uint32_t>(rows);
  row.context_len = depth;
  row.store_len = store;
  row.page_count = static_cast<uint32_t>(pages_.size());
  row.window_offset = -1;
  row.attention = {decide::kBlockCausal, 32, 0, 0, 0};
  row.sampler = {0, 1, 0, 0, 0};
  row.blocks.mask_token = vocabulary_ - 1;
  std::vector<int32_t> tokens, heads;
  for (int i = 0; i < rows; ++i) {
    tokens.push_back((i * 7919 + 13) % vocabulary_);
    heads.push_back(i);
  }
  builder_.Clear();
  const auto ints = [&](const std::vector<int32_t>& v) {
    builder_.ForceVectorAlignment(v.size(), sizeof(int32_t), 16);
    return builder_.CreateVector(v);
  };
  const auto t = ints(tokens), h = ints(heads), p = ints(pages_);
  builder_.ForceVectorAlignment(sizeof row, 1, 16);
  const auto r = builder_.CreateVector(reinterpret_cast<const uint8_t*>(&row), sizeof row);
  builder_.Finish(wire::CreateStepPlan(builder_, 0, r, t, h, p));
  backend->execute_tapped(*flatbuffers::GetRoot<wire::StepPlan>(builder_.GetBufferPointer()),
                          logits);
}

}  // namespace diffulex_bench
