#include "strategy/multi_bd/multi_bd.h"

#include "base/error.h"
#include "strategy/templates/multi_block/multi_block.h"

namespace diffulex {
namespace {

constexpr OptionSpec kOptions[] = {
    multi_block::kAcceptThreshold,
    multi_block::kAddBlockThreshold,
    multi_block::kSemiCompleteThreshold,
    multi_block::kTokenStabilityThreshold,
    multi_block::kConfidence,
};

void validate(const ArchSpec& arch, const EngineShape&) {
  multi_block::require_mask("multi_bd", arch);
}

}  // namespace

constinit const Strategy kMultiBd = {
    .name = "multi_bd",
    .summary =
        "multi-block diffusion: fills the masks of several blocks at once, block-causal, with "
        "prefix caching",
    .options = kOptions,
    .requirements = {},
    .validate = validate,
    .check_request = nullptr,
    .decision = multi_block::decision,
    .make_request = multi_block::make_request,
    .make_cache_manager = multi_block::make_cache_manager,
    .make_scheduler = multi_block::make_scheduler,
    .make_runner = multi_block::make_runner,
    .attention = multi_block::block_causal,
};

}  // namespace diffulex
