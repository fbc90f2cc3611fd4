// The template of strategies that decode with a rolling buffer of fixed-size blocks: every part in
// its plain form.
#pragma once

#include "strategy/strategy.h"

namespace diffulex::multi_block {

// Thresholds of the rolling buffer; a strategy lists them in its option table.
inline constexpr OptionSpec kAcceptThreshold = {
    "accept_threshold",
    OptionType::kFloat,
    "",
    "0..1",
    "a token is accepted when its probability is above this; default: the model family's",
    0,
    1};
inline constexpr OptionSpec kAddBlockThreshold = {
    "add_block_threshold",
    OptionType::kFloat,
    "",
    "0..1",
    "the next block opens when this share of the last open block is filled; default: the model "
    "family's, mostly 0.1",
    0,
    1};
inline constexpr OptionSpec kSemiCompleteThreshold = {
    "semi_complete_threshold",
    OptionType::kFloat,
    "",
    "0..1",
    "a block accepts at least one token per step once this share of the block before it is filled; "
    "default: the model family's, mostly 0.9",
    0,
    1};

inline constexpr OptionSpec kTokenStabilityThreshold = {
    "token_stability_threshold",
    OptionType::kFloat,
    "",
    "0..1",
    "share of the last open block's tokens that must have stopped changing before the next block "
    "opens; a sampler that only fills masks reaches any share above 0 with the block's last "
    "token; default: the model family's, mostly 0",
    0,
    1};
inline constexpr OptionSpec kConfidence = {
    "confidence", OptionType::kString, "probability", "probability, margin, neg_entropy",
    "what orders the masks of a block when none passes accept_threshold and one must be filled: "
    "the token's probability, its lead over the second, or how sure the distribution is"};

// The smallest number of filled positions f with f / block_size >= threshold, in double arithmetic.
int32_t fill_count(double threshold, int32_t block_size);

// Throws Error(DIFFULEX_E_STRATEGY_UNSUPPORTED) for a model without a mask token.
void require_mask(std::string_view strategy, const ArchSpec& arch);

decide::MultiBlockParams decision(const ArchSpec& arch, const SamplerRule& sampler,
                                  const EngineShape& shape, const OptionValues& options);
std::unique_ptr<Request> make_request(uint64_t id, RequestSpec spec,
                                      std::shared_ptr<RequestRecord> record);
std::unique_ptr<KvCacheManager> make_cache_manager(const EngineShape& shape);
std::unique_ptr<Scheduler> make_scheduler(const EngineShape& shape, KvCacheManager& cache);
std::unique_ptr<ModelRunner> make_runner(Backend& backend);
decide::AttentionRule block_causal(const Request& request);

}  // namespace diffulex::multi_block
