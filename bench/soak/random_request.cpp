#include "random_request.h"

#include <utility>

namespace diffulex_soak {
namespace {

constexpr uint32_t kMostOutput = 300;
constexpr const char* kStopStrings[] = {"e", " the", "7", ", ", "zz", "apples"};
constexpr const char* kSalts[] = {"tenant a", "tenant b"};
constexpr const char* kThresholds[] = {"0.3", "0.7", "0.95", "1"};
constexpr const char* kConfidences[] = {"probability", "margin", "neg_entropy"};

template <class T, size_t n>
T one_of(Random& random, const T (&values)[n]) {
  return values[random.below(n)];
}

void draw_limits(Random& random, diffulex_request_params& p) {
  p.max_tokens = random.between(1, kMostOutput);
  p.priority = static_cast<int32_t>(random.below(7)) - 3;
  if (random.chance(0.1f)) p.deadline_ms = random.between(1, 400);
  if (random.chance(0.1f)) p.max_steps = random.between(1, 60);
  if (random.chance(0.1f)) p.max_repetition_run = random.between(2, 8);
  if (random.chance(0.6f)) p.flags |= DIFFULEX_REQUEST_IGNORE_EOS;
  if (random.chance(0.2f)) p.flags |= DIFFULEX_REQUEST_TRACK_SLOTS;
  if (random.chance(0.1f)) p.flags |= DIFFULEX_REQUEST_NO_CACHE;
  if (random.chance(0.3f)) p.cache_salt = one_of(random, kSalts);
}

void draw_sampling(Random& random, diffulex_request_params& p) {
  p.seed = random.next();
  if (random.chance(0.5f)) return;  // greedy
  p.temperature = 0.2f + 1.3f * random.unit();
  if (random.chance(0.3f)) p.top_p = 0.5f + 0.5f * random.unit();
  if (random.chance(0.3f)) p.top_k = static_cast<int32_t>(random.between(1, 100));
  if (random.chance(0.2f)) p.min_p = 0.2f * random.unit();
  if (random.chance(0.3f)) p.repetition_penalty = 1 + 0.5f * random.unit();
}

void draw_lists(Random& random, const Vocabulary& vocabulary, RandomRequest& r) {
  if (random.chance(0.2f)) r.stop_strings.push_back(one_of(random, kStopStrings));
  if (random.chance(0.2f)) r.stop_tokens = random_tokens(random, vocabulary, random.between(1, 4));
  if (random.chance(0.2f))
    r.bias.push_back({random_tokens(random, vocabulary, 1)[0], 4 * random.unit() - 2});
  if (random.chance(0.3f)) r.options.push_back({"accept_threshold", one_of(random, kThresholds)});
  if (random.chance(0.2f)) r.options.push_back({"confidence", one_of(random, kConfidences)});
}

}  // namespace

Tokens random_tokens(Random& random, const Vocabulary& vocabulary, uint32_t count) {
  Tokens tokens;
  while (tokens.size() < count) {
    const auto token =
        static_cast<diffulex_token>(random.below(static_cast<uint32_t>(vocabulary.size)));
    if (token != vocabulary.mask) tokens.push_back(token);
  }
  return tokens;
}

const diffulex_request_params* RandomRequest::pointed() {
  params.stop_tokens = stop_tokens.data();
  params.stop_token_count = stop_tokens.size();
  params.stop_strings = stop_strings.data();
  params.stop_string_count = stop_strings.size();
  params.logit_bias = bias.data();
  params.logit_bias_count = bias.size();
  params.strategy_options = options.data();
  params.strategy_option_count = options.size();
  return &params;
}

RandomRequest random_request(Random& random, const Vocabulary& vocabulary, Tokens prompt) {
  RandomRequest request;
  request.prompt = std::move(prompt);
  diffulex_request_params_init(&request.params, sizeof(request.params));
  draw_limits(random, request.params);
  draw_sampling(random, request.params);
  draw_lists(random, vocabulary, request);
  return request;
}

}  // namespace diffulex_soak
