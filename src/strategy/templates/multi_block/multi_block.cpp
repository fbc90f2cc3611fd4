#include "strategy/templates/multi_block/multi_block.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace diffulex::multi_block {

int32_t fill_count(double threshold, int32_t block_size) {
  int32_t filled = 0;
  while (static_cast<double>(filled) / block_size < threshold) ++filled;
  return filled;
}

void require_mask(std::string_view strategy, const ArchSpec& arch) {
  if (arch.mask_token >= 0) return;
  throw Error(DIFFULEX_E_STRATEGY_UNSUPPORTED, "strategy '" + std::string(strategy) +
                                                   "' fills masks, but the model family '" +
                                                   arch.family + "' has no mask token")
      .with("option", "strategy");
}

decide::MultiBlockParams decision(const ArchSpec& arch, const SamplerRule& sampler,
                                  const EngineShape& shape, const OptionValues& options) {
  // Of a threshold that nobody set, the family's.
  const auto threshold = [&](const char* key, double of_family) {
    const double value = options.number(key);
    return std::isnan(value) ? of_family : value;
  };
  const Decoding& family = arch.decoding;
  decide::MultiBlockParams p{};
  p.block_size = shape.block_size;
  p.buffer_blocks = shape.buffer_blocks;
  p.mask_token = arch.mask_token;
  p.add_block_fill =
      fill_count(threshold("add_block_threshold", family.add_block_threshold), shape.block_size);
  p.semi_fill = fill_count(threshold("semi_complete_threshold", family.semi_complete_threshold),
                           shape.block_size);
  p.accept_threshold = static_cast<float>(threshold("accept_threshold", family.accept_threshold));
  // Tokens of a mask-filling sampler count as stable once their block is complete.
  if (threshold("token_stability_threshold", family.token_stability_threshold) > 0)
    p.add_block_fill = shape.block_size;
  p.force_always = sampler.force_always ? 1 : 0;
  p.shift = sampler.shift ? 1 : 0;
  return p;
}

std::unique_ptr<Request> make_request(uint64_t id, RequestSpec spec,
                                      std::shared_ptr<RequestRecord> record) {
  return std::make_unique<Request>(id, std::move(spec), std::move(record));
}

std::unique_ptr<KvCacheManager> make_cache_manager(const EngineShape& shape) {
  return std::make_unique<KvCacheManager>(shape.kv_pages, shape.page_size, shape.prefix_caching);
}

std::unique_ptr<Scheduler> make_scheduler(const EngineShape& shape, KvCacheManager& cache) {
  return std::make_unique<Scheduler>(SchedulerLimits{shape.max_requests, shape.max_batched_tokens},
                                     cache);
}

std::unique_ptr<ModelRunner> make_runner(Backend& backend) {
  return std::make_unique<ModelRunner>(backend);
}

decide::AttentionRule block_causal(const Request& request) {
  const int32_t b = request.block_size();
  const auto prompt_len = static_cast<int32_t>(request.spec.prompt.size());
  decide::AttentionRule rule{};
  rule.mode = decide::kBlockCausal;
  rule.granularity = b;
  rule.prompt_len = prompt_len;
  rule.padded_len = (prompt_len + b - 1) / b * b;
  return rule;
}

}  // namespace diffulex::multi_block
