// Requests drawn at random: every parameter that a request has, in some combination.
#pragma once

#include <cstdint>
#include <random>
#include <vector>

#include "diffulex.h"

namespace diffulex_soak {

class Random {
 public:
  explicit Random(uint64_t seed) : engine_(seed) {}
  uint64_t next() { return engine_(); }
  uint32_t below(uint32_t n) { return static_cast<uint32_t>(engine_() % n); }
  uint32_t between(uint32_t least, uint32_t most) { return least + below(most - least + 1); }
  float unit() { return static_cast<float>(engine_() >> 40) * 0x1p-24f; }
  bool chance(float share) { return unit() < share; }

 private:
  std::mt19937_64 engine_;
};

using Tokens = std::vector<diffulex_token>;

// What prompts are made of.
struct Vocabulary {
  int32_t size = 0;
  diffulex_token mask = -1;  // no prompt may hold it
};
Tokens random_tokens(Random& random, const Vocabulary& vocabulary, uint32_t count);

struct RandomRequest {
  Tokens prompt;
  diffulex_request_params params{};
  Tokens stop_tokens;
  std::vector<const char*> stop_strings;
  std::vector<diffulex_logit_bias> bias;
  std::vector<diffulex_kv> options;

  // With its pointers into this request, which must stay where it is while they are used.
  const diffulex_request_params* pointed();
};
RandomRequest random_request(Random& random, const Vocabulary& vocabulary, Tokens prompt);

}  // namespace diffulex_soak
