#include "strategy/d2f/d2f.h"

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

constexpr Requirement kRequirements[] = {
    {"prefix_caching", "false", "the keys of a prompt depend on the whole prompt"},
};

void validate(const ArchSpec& arch, const EngineShape&) { multi_block::require_mask("d2f", arch); }

// The forward that computes the prompt also denoises the block that holds its end and the next one.
void check_request(const EngineShape& shape, const RequestSpec& spec) {
  const auto prompt = static_cast<int64_t>(spec.prompt.size()), b = int64_t{shape.block_size};
  const int64_t rows = (prompt + b - 1) / b * b + b;
  if (rows <= shape.max_batched_tokens) return;
  throw Error(DIFFULEX_E_CONTEXT_LENGTH,
              "strategy 'd2f' computes a prompt in one forward: its " + std::to_string(prompt) +
                  " tokens need max_batched_tokens >= " + std::to_string(rows) + ", not " +
                  std::to_string(shape.max_batched_tokens))
      .with("option", "max_batched_tokens");
}

std::unique_ptr<Request> make_request(uint64_t id, RequestSpec spec,
                                      std::shared_ptr<RequestRecord> record) {
  std::unique_ptr<Request> request =
      multi_block::make_request(id, std::move(spec), std::move(record));
  request->whole_prompt = true;
  return request;
}

// Both directions hold for the forward that computes the prompt, whether for the first time or
// again: every block behind it is computed under the mask it was committed with.
class D2fRunner : public ModelRunner {
 public:
  using ModelRunner::ModelRunner;

 protected:
  void describe(const ScheduledRequest& scheduled, RequestRow& row) const override {
    ModelRunner::describe(scheduled, row);
    const Request& request = *scheduled.request;
    const bool reads_prompt = request.cached < request.prompt_end() || request.window.forwards == 0;
    row.attention.mode = reads_prompt ? decide::kPrefixFull : decide::kBlockCausal;
  }
};

std::unique_ptr<ModelRunner> make_runner(Backend& backend) {
  return std::make_unique<D2fRunner>(backend);
}

}  // namespace

constinit const Strategy kD2f = {
    .name = "d2f",
    .summary =
        "discrete diffusion forcing: reads the prompt in both directions, then fills the masks of "
        "several blocks at once, block-causal, without prefix caching",
    .options = kOptions,
    .requirements = kRequirements,
    .validate = validate,
    .check_request = check_request,
    .decision = multi_block::decision,
    .make_request = make_request,
    .make_cache_manager = multi_block::make_cache_manager,
    .make_scheduler = multi_block::make_scheduler,
    .make_runner = make_runner,
    .attention = multi_block::block_causal,
};

}  // namespace diffulex
