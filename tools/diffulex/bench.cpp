// diffulex bench: random prompts through a whole engine.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <random>

#include "commands.h"
#include "metrics.h"
#include "session.h"
#include "terminal.h"

namespace diffulex_command {
namespace {

struct Options {
  EngineOptions engine;
  SamplingOptions sampling;
  uint32_t prompt_tokens = 64, requests = 8, concurrency = 0;
  bool json = false;
};

double percentile(std::vector<double> values, double share) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  return values[static_cast<size_t>(std::lround(share * static_cast<double>(values.size() - 1)))];
}

double per(uint64_t count, double by) { return by > 0 ? static_cast<double>(count) / by : 0; }

std::vector<diffulex_token> random_prompt(const diffulex_engine_info& info, uint32_t count,
                                          std::mt19937& rng) {
  std::vector<diffulex_token> prompt;
  while (prompt.size() < count) {
    const auto token = static_cast<diffulex_token>(rng() % static_cast<uint32_t>(info.vocab_size));
    if (token != info.mask_token) prompt.push_back(token);
  }
  return prompt;
}

// Requests that finished since the last call.
uint32_t take_finished(const Session& session) {
  diffulex_event events[64];
  size_t count = 0;
  uint32_t finished = 0;
  do {
    diffulex_error* error = nullptr;
    check(diffulex_engine_wait(session.engine(), events, sizeof(events[0]), std::size(events),
                               &count, 0, &error),
          error);
    for (size_t i = 0; i < count; ++i) finished += events[i].type == DIFFULEX_EVENT_FINISHED;
  } while (count == std::size(events));
  return finished;
}

// What each request got from a step: the difference to what it had.
class Recorder {
 public:
  void note(const Session& session, const std::vector<diffulex_request_id>& ids, double seconds) {
    StepRecord record{seconds, {}};
    infos_.resize(ids.size());
    for (size_t i = first_running_; i < ids.size(); ++i) {
      const diffulex_request_info before = infos_[i], now = session.info(ids[i]);
      infos_[i] = now;
      if (now.steps == before.steps) continue;
      const uint32_t rows = now.forwarded_tokens - before.forwarded_tokens;
      const bool decoded = now.denoise_steps != before.denoise_steps || before.committed_len > 0;
      record.shares.push_back(
          {ids[i], decoded ? 0 : rows, now.committed_len - before.committed_len, decoded});
    }
    while (first_running_ < ids.size() && infos_[first_running_].state == DIFFULEX_REQ_FINISHED)
      ++first_running_;
    steps_.push_back(std::move(record));
  }
  RunMetrics metrics() const { return measure(steps_); }

 private:
  std::vector<diffulex_request_info> infos_;  // [ids] after the last step
  std::vector<StepRecord> steps_;
  size_t first_running_ = 0;
};

// Runs all requests, at most options.concurrency of them at a time; false: interrupted.
bool run_requests(Session& session, const Options& options, std::vector<diffulex_request_id>& ids,
                  Recorder& recorder) {
  // Not the library's draws: the prompts of one seed are the same for every sampling.
  std::mt19937 rng(static_cast<uint32_t>(options.sampling.seed));
  const diffulex_engine_info info = session.engine_info();
  diffulex_request_params params = options.sampling.params();
  params.flags = DIFFULEX_REQUEST_IGNORE_EOS | DIFFULEX_REQUEST_NO_CACHE;
  const uint32_t at_once = options.concurrency > 0 ? options.concurrency : options.requests;
  uint32_t running = 0;
  while (!interrupted()) {
    for (; running < at_once && ids.size() < options.requests; ++running) {
      const auto prompt = random_prompt(info, options.prompt_tokens, rng);
      diffulex_error* error = nullptr;
      diffulex_request_id id = 0;
      check(diffulex_request_submit(session.engine(), prompt.data(), prompt.size(), &params, &id,
                                    &error),
            error);
      ids.push_back(id);
    }
    if (running == 0) return true;
    const auto start = std::chrono::steady_clock::now();
    (void)session.step();
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
    recorder.note(session, ids, taken.count());
    running -= take_finished(session);
  }
  return false;
}

std::vector<diffulex_step_stats> read_steps(const Session& session) {
  diffulex_engine_stats stats{};
  stats.struct_size = sizeof(stats);
  diffulex_error* error = nullptr;
  check(diffulex_engine_get_stats(session.engine(), &stats, &error), error);
  std::vector<diffulex_step_stats> steps(stats.steps);
  size_t count = 0;
  check(diffulex_engine_read_steps(session.engine(), 0, steps.data(), sizeof(steps[0]),
                                   steps.size(), &count, &error),
        error);
  steps.resize(count);
  return steps;
}

nlohmann::ordered_json summary(const Session& session, const std::vector<diffulex_request_id>& ids,
                               const RunMetrics& metrics) {
  std::vector<double> first_commit, step_ms;
  uint64_t tokens = 0, forwards = 0, denoise = 0, begin = UINT64_MAX, end = 0;
  for (const diffulex_request_id id : ids) {
    const diffulex_request_info info = session.finished(id);
    if (info.first_commit_ns > 0)
      first_commit.push_back(static_cast<double>(info.first_commit_ns - info.queued_ns) * 1e-6);
    tokens += info.committed_len;
    forwards += info.steps;
    denoise += info.denoise_steps;
    begin = std::min(begin, info.queued_ns);
    end = std::max(end, info.end_ns);
  }
  const std::vector<diffulex_step_stats> steps = read_steps(session);
  for (const diffulex_step_stats& step : steps)
    step_ms.push_back(static_cast<double>(step.duration_ns) * 1e-6);
  const double seconds = static_cast<double>(end - begin) * 1e-9;
  return {{"requests", ids.size()},
          {"tokens", tokens},
          {"seconds", seconds},
          {"tokens_per_second", per(tokens, seconds)},
          {"prefill_tokens_per_second", metrics.prefill_throughput},
          {"decode_tokens_per_second", metrics.decode_throughput},
          {"tokens_per_forward_of_a_request", metrics.tokens_per_forward},
          {"first_token_ms_without_queue", metrics.first_token_seconds * 1e3},
          {"later_token_ms", metrics.per_token_seconds * 1e3},
          {"tokens_per_forward", per(tokens, static_cast<double>(forwards))},
          {"tokens_per_denoising_forward", per(tokens, static_cast<double>(denoise))},
          {"steps", steps.size()},
          {"step_ms_median", percentile(step_ms, 0.5)},
          {"step_ms_p95", percentile(step_ms, 0.95)},
          {"first_commit_ms_median", percentile(first_commit, 0.5)},
          {"first_commit_ms_p95", percentile(first_commit, 0.95)}};
}

int run(const Options& options) {
  EngineOptions engine = options.engine;
  engine.engine_set.emplace_back("step_log_capacity=1000000");
  Session session(engine);
  std::vector<diffulex_request_id> ids;
  Recorder recorder;
  if (!run_requests(session, options, ids, recorder)) return kInterruptedExit;
  const nlohmann::ordered_json result = summary(session, ids, recorder.metrics());
  if (options.json) {
    std::printf("%s\n", result.dump(2).c_str());
  } else {
    for (const auto& [key, value] : result.items())
      std::printf(value.is_number_float() ? "%-34s %.3f\n" : "%-34s %.0f\n", key.c_str(),
                  value.get<double>());
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
  app.add_option("--requests", options->requests, "requests in all")
      ->check(CLI::Range(1u, 100000u))
      ->capture_default_str();
  app.add_option("--concurrency", options->concurrency,
                 "requests submitted at a time; 0 = all. The engine runs max_requests together")
      ->check(CLI::Range(0u, 100000u))
      ->capture_default_str();
  app.add_flag("--json", options->json, "prints the result as JSON");
  return [options] { return run(*options); };
}

}  // namespace diffulex_command
