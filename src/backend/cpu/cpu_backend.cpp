#include "backend/cpu/cpu_backend.h"

#include <algorithm>

#include "backend/arch_check.h"
#include "backend/cpu/isa.h"
#include "base/error.h"
#include "decide/multi_block.h"

namespace diffulex::cpu {

namespace {

void check(const ArchSpec& arch, const BackendConfig& config) {
  const auto unsupported = [](const char* what) { throw Error(DIFFULEX_E_UNSUPPORTED, what); };
  if (config.weight_dtype == DType::kF16)
    unsupported("the CPU backend computes with f32, bf16 or int8");
  if (config.kv_dtype == DType::kF16 || config.kv_dtype == DType::kI8)
    unsupported("the CPU backend's cache holds f32 or bf16");
  if (config.weight_dtype == DType::kBF16 && !has_avx512_bf16())
    unsupported("this processor does not multiply bf16");
  check_heads(arch);
  if (config.max_requests < 1 || config.max_tokens < 1 || config.max_head_rows < 0 ||
      config.page_size < 1 || config.max_pages_per_request < 1 || config.kv_pages < 0 ||
      config.window_stride < 0 || config.threads < 1)
    throw Error(DIFFULEX_E_INTERNAL, "bad backend configuration");
}

BackendConfig checked(const ArchSpec& arch, const BackendConfig& config) {
  check(arch, config);
  return config;
}

}  // namespace

DType best_weight_dtype() { return has_avx512_bf16() ? DType::kBF16 : DType::kF32; }

MemoryPlan plan_memory(const ArchSpec& arch, const BackendConfig& config) {
  check(arch, config);
  return plan_forward(arch, config);
}

std::unique_ptr<Backend> create(const ArchSpec& arch, const ModelWeights& weights,
                                const BackendConfig& config, const LoadProgress& progress) {
  try {
    return std::make_unique<CpuBackend>(arch, weights, config, progress);
  } catch (const dnnl::error& e) {
    if (e.status == dnnl_out_of_memory) throw std::bad_alloc();
    throw Error(DIFFULEX_E_UNSUPPORTED, std::string("oneDNN: ") + e.what());
  }
}

CpuBackend::CpuBackend(const ArchSpec& arch, const ModelWeights& weights,
                       const BackendConfig& config, const LoadProgress& progress)
    : config_(checked(arch, config)),
      team_(config.threads),
      matmul_(config.weight_dtype, config.threads),
      step_(arch, config),
      picks_(static_cast<size_t>(config.max_head_rows)),
      windows_(static_cast<size_t>(config.max_requests)),
      tokens_(static_cast<size_t>(config.max_requests) *
              static_cast<size_t>(config.window_stride)) {
  model_ = std::make_unique<PackedModel>(arch, weights, config.weight_dtype, matmul_.engine(),
                                         team_, progress);
  forward_ = std::make_unique<Forward>(arch, config, *model_, matmul_, team_);
}

MemoryPlan CpuBackend::memory() const {
  return {model_->bytes(), forward_->kv_bytes(),
          forward_->workspace_bytes() + step_.bytes() + picks_.size() * sizeof(decide::Pick) +
              windows_.size() * sizeof(decide::Window) + tokens_.size() * sizeof(int32_t)};
}

std::string CpuBackend::kernels() const {
  return std::string("cpu ") + kernel_target() + " " + matmul_.name() + ", attention " +
         forward_->attention_name();
}

StepResult CpuBackend::execute_tapped(const wire::StepPlan& plan, float* logits) {
  step_.load(plan);
  return run(logits);
}

// Nothing runs ahead: the step that was asked for runs when its result is.
StepResult CpuBackend::next(bool /*more*/) {
  step_.follow(windows_, tokens_);
  return run(nullptr);
}

StepResult CpuBackend::run(float* logits) {
  try {
    forward_->run(step_, picks_.data(), logits);
  } catch (const dnnl::error& e) {
    if (e.status == dnnl_out_of_memory) throw std::bad_alloc();
    throw Error(DIFFULEX_E_INTERNAL, std::string("oneDNN: ") + e.what());
  }
  step_.keep_carried();
  decide_requests();
  const size_t requests = step_.requests.size(),
               stride = static_cast<size_t>(config_.window_stride);
  return {step_.requests,
          {windows_.data(), requests},
          {tokens_.data(), requests * stride},
          stride,
          {picks_.data(), step_.head_rows.size()}};
}

void CpuBackend::decide_requests() {
  const size_t stride = static_cast<size_t>(config_.window_stride);
  for (size_t i = 0; i < step_.requests.size(); ++i) {
    const RequestRow& row = step_.requests[i];
    windows_[i] = row.window;
    int32_t* const tokens = tokens_.data() + i * stride;
    std::fill_n(tokens, stride, row.blocks.mask_token);
    if (row.window_offset < 0) {
      windows_[i].forwards += row.token_count > 0 ? 1 : 0;  // not those of a parked request
      continue;
    }
    std::copy_n(step_.tokens.begin() + row.first_token + row.window_offset,
                row.window.valid * row.blocks.block_size, tokens);
    decide::multi_block_step(row.blocks, windows_[i], tokens, picks_.data() + row.head_begin,
                             row.stored_blocks);
  }
}

}  // namespace diffulex::cpu
