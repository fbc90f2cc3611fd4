#include "api/request_params.h"

#include <algorithm>
#include <cmath>

#include "api/guard.h"
#include "base/error.h"
#include "base/system.h"
#include "text/utf8.h"

namespace diffulex::api {
namespace {

constexpr uint32_t kDefaultMaxTokens = 512;
constexpr int32_t kMaxPriority = 1000;
constexpr float kMaxPenalty = 100;
constexpr uint64_t kNsPerMs = 1'000'000;
constexpr uint32_t kKnownFlags =
    DIFFULEX_REQUEST_IGNORE_EOS | DIFFULEX_REQUEST_TRACK_SLOTS | DIFFULEX_REQUEST_NO_CACHE;

[[noreturn]] void invalid(const char* field, const std::string& message) {
  throw Error(DIFFULEX_E_INVALID_ARGUMENT, std::string(field) + " " + message)
      .with("option", field);
}

void check_params(const diffulex_request_params& p) {
  if ((p.flags & ~kKnownFlags) != 0) invalid("flags", "has unknown bits");
  if (!std::isfinite(p.temperature) || p.temperature < 0)
    invalid("temperature", "must be a number >= 0");
  if (!std::isfinite(p.top_p) || p.top_p < 0 || p.top_p > 1)
    invalid("top_p", "must be in (0, 1]; 0 is off");
  if (p.top_k < 0) invalid("top_k", "must be >= 0; 0 is off");
  if (!std::isfinite(p.min_p) || p.min_p < 0 || p.min_p > 1)
    invalid("min_p", "must be in [0, 1]; 0 is off");
  if (p.stop_string_count > 0 && p.stop_strings == nullptr) invalid("stop_strings", "is NULL");
  if (!std::isfinite(p.repetition_penalty) || p.repetition_penalty < 0 ||
      p.repetition_penalty > kMaxPenalty)
    invalid("repetition_penalty", "must be in (0, 100]; 0 is off");
  if (p.logit_bias_count > 0 && p.logit_bias == nullptr) invalid("logit_bias", "is NULL");
  if (p.max_repetition_run == 1 || p.max_repetition_run > INT32_MAX)
    invalid("max_repetition_run", "must be 2 or more; 0 is off");
  if (p.priority < -kMaxPriority || p.priority > kMaxPriority)
    invalid("priority", "must be in [-1000, 1000]");
  if (p.stop_token_count > 0 && p.stop_tokens == nullptr) invalid("stop_tokens", "is NULL");
  if (p.strategy_option_count > 0 && p.strategy_options == nullptr)
    invalid("strategy_options", "is NULL");
}

void check_prompt(const EngineConfig& config, std::span<const diffulex_token> prompt) {
  if (prompt.empty()) invalid("prompt", "is empty");
  if (prompt.size() >= static_cast<size_t>(config.shape.max_model_len))
    throw Error(DIFFULEX_E_CONTEXT_LENGTH,
                "the prompt has " + std::to_string(prompt.size()) + " tokens; max_model_len = " +
                    std::to_string(config.shape.max_model_len) + " leaves no room for output")
        .with("option", "max_model_len");
  for (size_t i = 0; i < prompt.size(); ++i) {
    if (prompt[i] < 0 || prompt[i] >= config.arch.vocab_size)
      invalid("prompt", "holds id " + std::to_string(prompt[i]) + " at index " + std::to_string(i) +
                            "; ids are [0, " + std::to_string(config.arch.vocab_size) + ")");
    if (prompt[i] == config.arch.mask_token)
      invalid("prompt", "holds the mask token " + std::to_string(prompt[i]) + " at index " +
                            std::to_string(i));
  }
}

void add_stop_tokens(const EngineConfig& config, const diffulex_request_params& p,
                     decide::MultiBlockParams& blocks) {
  const auto add = [&](diffulex_token token) {
    if (blocks.stop_count == decide::kMaxStopTokens)
      invalid("stop_tokens", "and the model's own end tokens are more than " +
                                 std::to_string(decide::kMaxStopTokens));
    blocks.stop_tokens[blocks.stop_count++] = token;
  };
  if ((p.flags & DIFFULEX_REQUEST_IGNORE_EOS) == 0)
    for (const int32_t token : config.arch.eos_tokens) add(token);
  blocks.eos_count = blocks.stop_count;
  for (size_t i = 0; i < p.stop_token_count; ++i) {
    if (p.stop_tokens[i] < 0 || p.stop_tokens[i] >= config.arch.vocab_size)
      invalid("stop_tokens",
              "holds id " + std::to_string(p.stop_tokens[i]) + ", which is out of range");
    add(p.stop_tokens[i]);
  }
}

std::vector<std::string> stop_strings_of(const diffulex_request_params& p) {
  std::vector<std::string> strings;
  for (size_t i = 0; i < p.stop_string_count; ++i) {
    const char* const s = p.stop_strings[i];
    if (s == nullptr || *s == '\0')
      invalid("stop_strings", "is empty at index " + std::to_string(i));
    if (!text::is_valid_utf8(s))
      invalid("stop_strings", "is not UTF-8 at index " + std::to_string(i));
    strings.emplace_back(s);
  }
  return strings;
}

std::vector<decide::LogitAdjust> logit_bias_of(const EngineConfig& config,
                                               const diffulex_request_params& p) {
  std::vector<decide::LogitAdjust> bias;
  for (size_t i = 0; i < p.logit_bias_count; ++i) {
    const auto [token, value] = p.logit_bias[i];
    const std::string at = " at index " + std::to_string(i);
    if (token < 0 || token >= config.arch.vocab_size)
      invalid("logit_bias", "holds id " + std::to_string(token) + at + ", which is out of range");
    if (std::isnan(value) || value == HUGE_VALF)
      invalid("logit_bias", "must be finite or -infinity" + at);
    bias.push_back({token, value, 1});
  }
  const auto by_token = [](const auto& a, const auto& b) { return a.token < b.token; };
  std::sort(bias.begin(), bias.end(), by_token);
  for (size_t i = 1; i < bias.size(); ++i)
    if (bias[i].token == bias[i - 1].token)
      invalid("logit_bias", "names id " + std::to_string(bias[i].token) + " twice");
  return bias;
}

uint32_t sampler_flags(const RequestSpec& spec) {
  const int32_t rank = spec.sampler.rank;
  uint32_t flags = rank == decide::kRankMargin ? uint32_t{decide::kWantMargin} : 0;
  if (spec.track_slots || rank == decide::kRankNegEntropy) flags |= decide::kWantEntropy;
  return flags;
}

OptionValues request_options(const EngineConfig& config, const diffulex_request_params& p) {
  OptionValues options = config.strategy_options;
  for (size_t i = 0; i < p.strategy_option_count; ++i) {
    const diffulex_kv& item = p.strategy_options[i];
    if (item.key == nullptr || item.value == nullptr) invalid("strategy_options", "holds a NULL");
    options.set("strategy '" + std::string(config.strategy->name) + "'", item.key, item.value);
  }
  return options;
}

}  // namespace

RequestSpec make_spec(const EngineConfig& config, std::span<const diffulex_token> prompt,
                      const diffulex_request_params* params) {
  diffulex_request_params p{};
  if (params != nullptr) p = read_struct(params, "params");
  check_params(p);
  check_prompt(config, prompt);
  RequestSpec spec;
  spec.prompt.assign(prompt.begin(), prompt.end());
  const OptionValues options = request_options(config, p);
  spec.blocks =
      config.strategy->decision(config.arch, sampler_for(config.arch), config.shape, options);
  add_stop_tokens(config, p, spec.blocks);
  spec.sampler.temperature = p.temperature;
  spec.sampler.top_p = p.top_p == 0 ? 1.0f : p.top_p;
  spec.sampler.top_k = p.top_k;
  spec.sampler.min_p = p.min_p;
  spec.sampler.repetition_penalty = p.repetition_penalty == 0 ? 1.0f : p.repetition_penalty;
  spec.sampler.rank = static_cast<int32_t>(options.integer("confidence"));
  spec.sampler.seed = p.seed;
  spec.logit_bias = logit_bias_of(config, p);
  spec.track_slots = (p.flags & DIFFULEX_REQUEST_TRACK_SLOTS) != 0;
  spec.sampler.flags = sampler_flags(spec);
  const uint64_t asked =
      uint64_t{prompt.size()} + (p.max_tokens == 0 ? kDefaultMaxTokens : p.max_tokens);
  const auto longest = static_cast<uint64_t>(config.shape.max_model_len);
  spec.limit = static_cast<int32_t>(std::min(asked, longest));
  spec.limit_reason = asked <= longest ? decide::kMaxTokens : decide::kContext;
  spec.max_forwards = static_cast<int32_t>(std::min<uint32_t>(p.max_steps, INT32_MAX));
  spec.blocks.max_repetition_run = static_cast<int32_t>(p.max_repetition_run);
  spec.priority = p.priority;
  spec.stop_strings = stop_strings_of(p);
  if (p.deadline_ms != 0) spec.deadline_ns = monotonic_ns() + p.deadline_ms * kNsPerMs;
  spec.user_tag = p.user_tag;
  spec.cache_salt = p.cache_salt != nullptr ? p.cache_salt : "";
  spec.use_cache = (p.flags & DIFFULEX_REQUEST_NO_CACHE) == 0;
  if (config.strategy->check_request != nullptr) config.strategy->check_request(config.shape, spec);
  return spec;
}

}  // namespace diffulex::api
