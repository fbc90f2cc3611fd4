#include "first_token.h"

#include <chrono>

#include "cuda/cuda_backend.h"
#include "engine_case.h"
#include "numbers.h"

namespace diffulex_bench {
namespace {

using namespace diffulex;

constexpr int kBlock = 32, kChunk = 512, kLongest = 4096;
constexpr int kRehearsals = 3, kRounds = 9;

// One request from its submission to its first token; what it had to compute is added to *work.
double run_once(Backend& backend, const RandomModel& model, const EngineShape& shape, int prompt,
                StepWork* work, int* steps) {
  StepDriver driver(backend, model.arch, shape);
  *work = {};
  *steps = 0;
  const auto start = std::chrono::steady_clock::now();
  driver.add(prompt);
  while (work->revealed == 0) {
    const StepWork step = driver.step().work;
    if (step.rows == 0) break;
    work->rows += step.rows;
    work->head_rows += step.head_rows;
    work->keys += step.keys;
    work->revealed += step.revealed;
    ++*steps;
  }
  const std::chrono::duration<double, std::milli> taken = std::chrono::steady_clock::now() - start;
  return taken.count();
}

// A window behind a cached prompt.
StepWork step_behind(int prompt) {
  StepWork work;
  work.rows = work.head_rows = kBlock;
  work.keys = int64_t{kBlock} * (prompt + kBlock);
  work.context = prompt;
  return work;
}

FirstToken time_prompt(Backend& backend, const RandomModel& model, EngineShape shape,
                       FirstToken result, const DeviceLimits& limits) {
  shape.max_batched_tokens = result.max_batched;
  StepWork work;
  std::vector<double> times;
  for (int i = -kRehearsals; i < kRounds; ++i) {
    const double ms = run_once(backend, model, shape, result.prompt, &work, &result.steps);
    if (i >= 0) times.push_back(ms);
  }
  result.ms = median(times);
  result.floor = floor_of(*result.model, work, limits);
  const Floor step = floor_of(*result.model, step_behind(result.prompt), limits);
  work.rows -= kBlock;
  work.head_rows = 0;
  work.keys -= int64_t{kBlock} * (result.prompt + kBlock);
  result.prompt_plus_step_ms = floor_of(*result.model, work, limits).operations_ms + step.ms();
  return result;
}

}  // namespace

std::vector<FirstToken> time_first_tokens(const ModelShape& shape,
                                          std::span<const uint16_t> numbers,
                                          const DeviceLimits& limits) {
  const RandomModel model(shape, numbers);
  const EngineCase c{&shape, kBlock, 1, 1, 0};
  const EngineShape engine = engine_shape(c, kLongest, kLongest + kBlock);
  const auto backend = cuda::create(model.arch, model.weights, backend_config(engine), nullptr);
  std::vector<FirstToken> results;
  for (const auto& [prompt, max_batched] :
       {std::pair{kPromptTokens, kChunk}, std::pair{kLongest, kLongest + kBlock},
        std::pair{kLongest, kChunk}}) {
    FirstToken wanted;
    wanted.model = &shape;
    wanted.prompt = prompt;
    wanted.max_batched = max_batched;
    results.push_back(time_prompt(*backend, model, engine, wanted, limits));
  }
  return results;
}

}  // namespace diffulex_bench
