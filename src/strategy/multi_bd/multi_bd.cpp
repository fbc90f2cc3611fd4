#include "strategy/multi_bd/multi_bd.h"

#include "base/error.h"
#include "strategy/templates/multi_block/multi_block.h"

namespace diffulex {
namespace {

constexpr OptionSpec kOptions[] = {
    multi_block::kAcceptThreshold,
    multi_block::kAddBlockThreshold,
    multi_block::kSemiCompleteThreshold,
};

void validate(const ArchSpec& arch, const EngineShape&) {
  if (arch.mask_token < 0)
    throw Error(DIFFULEX_E_STRATEGY_UNSUPPORTED,
                "strategy 'multi_bd' fills masks, but the model family '" + arch.family + "' has no mask token")
        .with("option", "strategy");
  if (arch.shift_logits)
    throw Error(DIFFULEX_E_STRATEGY_UNSUPPORTED,
                "strategy 'multi_bd' does not run models that predict a token from the row before it yet")
        .with("option", "strategy");
}

}  // namespace

constinit const Strategy kMultiBd = {
    .name = "multi_bd",
    .summary = "multi-block diffusion: fills the masks of several blocks at once, block-causal, with prefix caching",
    .options = kOptions,
    .validate = validate,
    .decision = multi_block::decision,
    .make_request = multi_block::make_request,
    .make_cache_manager = multi_block::make_cache_manager,
    .make_scheduler = multi_block::make_scheduler,
    .make_runner = multi_block::make_runner,
    .attention = multi_block::block_causal,
};

}  // namespace diffulex
