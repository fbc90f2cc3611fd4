// diffulex bench: random prompts through a whole engine.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <random>

#include "commands.h"
#include "session.h"

namespace diffulex_command {
namespace {

struct Options {
  EngineOptions engine;
  SamplingOptions sampling;
  uint32_t prompt_tokens = 64, requests = 8;
  bool json = false;
};

double percentile(std::vector<double> values, double share) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  return values[static_cast<size_t>(std::lround(share * static_cast<double>(values.size() - 1)))];
}

std::vector<diffulex_token> random_prompt(const Session& session, uint32_t count,
                                          std::mt19937& rng) {
  diffulex_engine_info info{};
  info.struct_size = sizeof(info);
  check(diffulex_engine_get_info(session.engine(), &info, nullptr), nullptr);
  std::vector<diffulex_token> prompt;
  while (prompt.size() < count) {
    const auto token = static_cast<diffulex_token>(rng() % static_cast<uint32_t>(info.vocab_size));
    if (token != info.mask_token) prompt.push_back(token);
  }
  return prompt;
}

int run(const Options& options) {
  EngineOptions engine = options.engine;
  engine.engine_set.push_back("step_log_capacity=1000000");
  Session session(engine);
  std::mt19937 rng(1);
  diffulex_request_params params = options.sampling.params();
  params.flags = DIFFULEX_REQUEST_IGNORE_EOS | DIFFULEX_REQUEST_NO_CACHE;
  std::vector<diffulex_request_id> ids(options.requests);
  for (diffulex_request_id& id : ids) {
    const auto prompt = random_prompt(session, options.prompt_tokens, rng);
    diffulex_error* error = nullptr;
    check(diffulex_request_submit(session.engine(), prompt.data(), prompt.size(), &params, &id,
                                  &error),
          error);
  }
  while (session.step()) {
  }
  std::vector<double> first_commit, step_ms;
  uint64_t tokens = 0, denoise = 0, begin = UINT64_MAX, end = 0;
  for (const diffulex_request_id id : ids) {
    const diffulex_request_info info = session.info(id);
    first_commit.push_back(static_cast<double>(info.first_commit_ns - info.queued_ns) * 1e-6);
    tokens += info.committed_len;
    denoise += info.denoise_steps;
    begin = std::min(begin, info.queued_ns);
    end = std::max(end, info.end_ns);
  }
  diffulex_engine_stats stats{};
  stats.struct_size = sizeof(stats);
  check(diffulex_engine_get_stats(session.engine(), &stats, nullptr), nullptr);
  std::vector<diffulex_step_stats> steps(stats.steps);
  size_t count = 0;
  check(diffulex_engine_read_steps(session.engine(), 0, steps.data(), sizeof(steps[0]),
                                   steps.size(), &count, nullptr),
        nullptr);
  for (size_t i = 0; i < count; ++i)
    step_ms.push_back(static_cast<double>(steps[i].duration_ns) * 1e-6);
  const double seconds = static_cast<double>(end - begin) * 1e-9;
  const nlohmann::json result = {
      {"requests", options.requests},
      {"tokens", tokens},
      {"seconds", seconds},
      {"tokens_per_second", static_cast<double>(tokens) / seconds},
      {"tokens_per_denoising_forward",
       static_cast<double>(tokens) / static_cast<double>(std::max<uint64_t>(denoise, 1))},
      {"steps", stats.steps},
      {"step_ms_median", percentile(step_ms, 0.5)},
      {"step_ms_p95", percentile(step_ms, 0.95)},
      {"first_commit_ms_median", percentile(first_commit, 0.5)},
      {"first_commit_ms_p95", percentile(first_commit, 0.95)}};
  if (options.json) {
    std::printf("%s\n", result.dump(2).c_str());
  } else {
    for (const auto& [key, value] : result.items())
      std::printf("%-30s %s\n", key.c_str(), value.dump().c_str());
  }
  return 0;
}

}  // namespace

Run add_bench(CLI::App& app) {
  auto options = std::make_shared<Options>();
  options->sampling.max_tokens = 128;
  options->engine.add_to(app);
  options->sampling.add_to(app);
  app.add_option("--prompt-tokens", options->prompt_tokens, "random tokens per prompt")
      ->check(CLI::Range(1u, 1u << 20))
      ->capture_default_str();
  app.add_option("--requests", options->requests, "requests, all submitted at once")
      ->check(CLI::Range(1u, 100000u))
      ->capture_default_str();
  app.add_flag("--json", options->json, "prints the result as JSON");
  return [options] { return run(*options); };
}

}  // namespace diffulex_command
