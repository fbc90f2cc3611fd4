// What a step of the whole engine costs on a CUDA device, and the first token of a prompt, beside
// the floors of the same card in the same run.
//
//   diffulex_bench_gpu [--cases 1.7b:32x4x16,...] [--first-token 1.7b,8b] [--steps N]
//                      [--trace-steps N] [--no-trace] [--json FILE]
//                      [--device-steps K] [--batch-invariant]
//
// A case is model:block x buffer x requests; models: 0.6b, 1.7b, 8b (random bf16 weights). A step
// is schedule, plan, upload, forward, head, selection, decisions and results on the host. The
// device's own times come from a second pass through every case under CUPTI: nothing is timed once
// that has been opened. docs/performance.md tells how to read the table.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>

#include "backend/devices.h"
#include "gpu_report.h"

namespace {

using namespace diffulex_bench;

struct Options {
  std::vector<EngineCase> cases;
  std::vector<const ModelShape*> first_tokens;
  int steps = 40, trace_steps = 10;
  bool trace = true;
  EngineSettings engine;
  std::string json;
};

std::vector<const ModelShape*> parse_models(std::string text) {
  std::vector<const ModelShape*> models;
  while (!text.empty()) {
    const size_t end = std::min(text.find(','), text.size());
    models.push_back(find_shape(text.substr(0, end)));
    if (models.back() == nullptr) throw std::invalid_argument("not a model: " + text);
    text.erase(0, end + 1);
  }
  return models;
}

// Without a choice everything is measured; a choice of either leaves the other out.
Options parse(int argc, char** argv) {
  Options options;
  bool chosen = false;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (word == "--no-trace") {
      options.trace = false;
      continue;
    }
    if (word == "--batch-invariant") {
      options.engine.batch_invariant = true;
      continue;
    }
    if (i + 1 == argc)
      throw std::invalid_argument("unknown option, or one without its value: " + word);
    const std::string value = argv[++i];
    if (word == "--cases")
      options.cases = parse_cases(value), chosen = true;
    else if (word == "--first-token")
      options.first_tokens = parse_models(value), chosen = true;
    else if (word == "--steps")
      options.steps = std::max(1, std::atoi(value.c_str()));
    else if (word == "--trace-steps")
      options.trace_steps = std::max(1, std::atoi(value.c_str()));
    else if (word == "--device-steps")
      options.engine.device_steps = std::max(1, std::atoi(value.c_str()));
    else if (word == "--json")
      options.json = value;
    else
      throw std::invalid_argument("unknown option: " + word);
  }
  if (chosen) return options;
  options.cases = default_cases();
  options.first_tokens = parse_models("1.7b,8b");
  return options;
}

// As many as the largest matrix of the models has.
std::vector<uint16_t> numbers_for(const Options& options) {
  size_t count = 0;
  for (const EngineCase& c : options.cases) count = std::max(count, c.model->largest_matrix());
  for (const ModelShape* m : options.first_tokens) count = std::max(count, m->largest_matrix());
  return random_bf16(count);
}

void time_all(const Options& options, std::span<const uint16_t> numbers, GpuReport& report) {
  for (const EngineCase& c : options.cases) {
    report.cases.push_back(
        {c, time_case(c, options.engine, numbers, report.limits, options.steps), {}});
    const CaseTimes& times = report.cases.back().times;
    std::fprintf(stderr, "%s: loaded in %.1f s, %.3f ms\n", c.name().c_str(), times.load_s,
                 times.ms);
  }
  for (const ModelShape* model : options.first_tokens)
    for (const FirstToken& f : time_first_tokens(*model, numbers, report.limits)) {
      report.first_tokens.push_back(f);
      std::fprintf(stderr, "%s: first token of %d at %d rows in %.3f ms\n", model->name, f.prompt,
                   f.max_batched, f.ms);
    }
}

void trace_all(const Options& options, std::span<const uint16_t> numbers, GpuReport& report) {
  if (!options.trace) {
    report.no_trace = "not asked for";
    return;
  }
  const auto trace = CuptiTrace::open(&report.no_trace);
  if (trace == nullptr) return;
  for (CaseResult& r : report.cases) {
    r.trace = trace_case(r.c, options.engine, numbers, *trace, options.trace_steps);
    std::fprintf(stderr, "%s: traced, %.3f ms busy\n", r.c.name().c_str(), r.trace->busy_ms);
  }
}

void write_json(const std::string& path, const GpuReport& report) {
  if (path.empty()) return;
  std::ofstream file(path);
  file << to_json(report).dump(2) << '\n';
  if (!file.flush()) throw std::runtime_error("cannot write " + path);
}

void run(const Options& options) {
  GpuReport report;
  report.device = diffulex::find_device("cuda").name;
  const std::vector<uint16_t> numbers = numbers_for(options);
  report.limits = measure_limits(numbers);
  time_all(options, numbers, report);
  report.no_trace = "not reached";
  write_json(options.json, report);
  trace_all(options, numbers, report);
  write_json(options.json, report);
  print(report);
}

}  // namespace

int main(int argc, char** argv) {
  try {
    run(parse(argc, argv));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  return 0;
}
