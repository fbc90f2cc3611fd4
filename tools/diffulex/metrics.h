// Rates of a run, from what each step took and gave. Plain arithmetic, so that a test can state it.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

namespace diffulex_command {

// One request's part in one step.
struct StepShare {
  uint64_t request = 0;
  uint32_t prefill_tokens = 0;  // rows of its prompt
  uint32_t new_tokens = 0;      // output tokens that became final
  bool decoded = false;         // a block of it was denoised or stored
};

struct StepRecord {
  double seconds = 0;
  std::vector<StepShare> shares;
};

// Rates are tokens per second, times are seconds; 0 where there is nothing to divide by.
struct RunMetrics {
  double throughput = 0;           // new tokens over the time of all steps
  double prefill_throughput = 0;   // prompt tokens over the time of steps with a prompt in them
  double decode_throughput = 0;    // new tokens of decoding requests over the time of their steps
  double tokens_per_forward = 0;   // mean over requests, of their decoding steps
  double first_token_seconds = 0;  // mean over requests: their steps up to the first new token
  double per_token_seconds = 0;    // mean over requests of 2 tokens and more: the rest per token
};

inline RunMetrics measure(const std::vector<StepRecord>& steps) {
  struct Request {
    double seconds = 0, until_first = 0;
    uint64_t tokens = 0, decoded_tokens = 0, decode_steps = 0;
  };
  std::map<uint64_t, Request> requests;
  double all = 0, prefill = 0, decode = 0;
  uint64_t tokens = 0, prefill_tokens = 0, decoded_tokens = 0;
  for (const StepRecord& step : steps) {
    bool any_prefill = false, any_decode = false;
    for (const StepShare& share : step.shares) {
      Request& r = requests[share.request];
      r.seconds += step.seconds;
      if (r.tokens == 0) r.until_first += step.seconds;
      r.tokens += share.new_tokens;
      if (share.decoded) {
        r.decoded_tokens += share.new_tokens;
        ++r.decode_steps;
        decoded_tokens += share.new_tokens;
      }
      any_prefill = any_prefill || share.prefill_tokens > 0;
      any_decode = any_decode || share.decoded;
      tokens += share.new_tokens;
      prefill_tokens += share.prefill_tokens;
    }
    all += step.seconds;
    prefill += any_prefill ? step.seconds : 0;
    decode += any_decode ? step.seconds : 0;
  }
  const auto over = [](double a, double b) { return b > 0 ? a / b : 0; };
  double forward = 0, first = 0, rest = 0, decoding = 0, answered = 0, longer = 0;
  for (const auto& [id, r] : requests) {
    if (r.decode_steps > 0) {
      forward += static_cast<double>(r.decoded_tokens) / static_cast<double>(r.decode_steps);
      ++decoding;
    }
    if (r.tokens > 0) first += r.until_first, ++answered;
    if (r.tokens > 1)
      rest += (r.seconds - r.until_first) / static_cast<double>(r.tokens - 1), ++longer;
  }
  return {over(static_cast<double>(tokens), all),
          over(static_cast<double>(prefill_tokens), prefill),
          over(static_cast<double>(decoded_tokens), decode),
          over(forward, decoding),
          over(first, answered),
          over(rest, longer)};
}

}  // namespace diffulex_command
