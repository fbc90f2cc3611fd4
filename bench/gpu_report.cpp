#include "gpu_report.h"

#include <cstdio>

namespace diffulex_bench {
namespace {

using Json = nlohmann::ordered_json;

constexpr double kShown = 0.005;  // least share of the busy time that gets a line of its own

double ratio(double ms, double floor) { return floor > 0 ? ms / floor : 0; }

// Of the untraced step: the share of it in which the device had nothing to do.
double idle_untraced(const CaseResult& r) {
  return r.times.ms > 0 ? 1 - r.trace->busy_ms / r.times.ms : 0;
}

void print_limits(const GpuReport& report) {
  std::printf("%s: copies %.0f GB/s, bf16 products", report.device.c_str(),
              report.limits.bytes_per_ms * 1e-6);
  const char* between = " ";
  for (const ProductRate& p : report.limits.products) {
    std::printf("%s%.0f TFLOP/s (%lld x %lld x %lld)", between, p.operations_per_ms * 1e-9,
                static_cast<long long>(p.rows), static_cast<long long>(p.n),
                static_cast<long long>(p.k));
    between = ", ";
  }
  std::printf("\n");
}

void print_case(const CaseResult& r) {
  const CaseTimes& t = r.times;
  std::printf("%-14s %6d %9.3f %9.3f", r.c.name().c_str(), r.c.full_rows(), t.ms, t.p90_ms);
  if (r.trace)
    std::printf(" %9.3f %9.3f", r.trace->device_ms, r.trace->busy_ms);
  else
    std::printf(" %9s %9s", "-", "-");
  std::printf(" %9.3f %-10s %6.2f", t.floor.ms(), t.floor.bound(), ratio(t.ms, t.floor.ms()));
  if (r.c.goal_ms > 0)
    std::printf(" %8.2f %4s", r.c.goal_ms, t.ms <= r.c.goal_ms ? "yes" : "no");
  else
    std::printf(" %8s %4s", "-", "-");
  if (r.trace)
    std::printf(" %6.1f %6.1f", r.trace->idle_share * 100, idle_untraced(r) * 100);
  else
    std::printf(" %6s %6s", "-", "-");
  std::printf(" %8.1f %6d\n", t.host_us, t.steps);
}

void print_cases(const GpuReport& report) {
  std::printf("\nSteps: prompts of %d tokens, full windows; goals are for one H100\n",
              kPromptTokens);
  std::printf("%-14s %6s %9s %9s %9s %9s %9s %-10s %6s %8s %4s %6s %6s %8s %6s\n", "case", "rows",
              "step ms", "p90", "device ms", "busy ms", "floor ms", "bound by", "ratio", "goal ms",
              "met", "idle%", "idle%*", "host us", "steps");
  for (const CaseResult& r : report.cases) print_case(r);
  if (report.no_trace.empty())
    std::printf("idle%%: of the traced steps; idle%%*: busy time against the untraced step\n");
  else
    std::printf("No device times, no kernels: %s\n", report.no_trace.c_str());
}

void print_kernels(const CaseResult& r) {
  std::printf("\n%s: where %.3f ms of device time go\n", r.c.name().c_str(), r.trace->busy_ms);
  std::printf("%12s %8s %7s  %s\n", "us per step", "count", "share", "kernel");
  double rest = 0, rest_count = 0;
  const double busy_us = r.trace->busy_ms * 1e3;
  for (const KernelShare& k : r.trace->kernels) {
    if (k.us_per_step < kShown * busy_us) {
      rest += k.us_per_step;
      rest_count += k.count_per_step;
      continue;
    }
    std::printf("%12.1f %8.1f %6.1f%%  %s\n", k.us_per_step, k.count_per_step,
                k.us_per_step / busy_us * 100, k.name.c_str());
  }
  std::printf("%12.1f %8.1f %6.1f%%  the rest\n", rest, rest_count, rest / busy_us * 100);
}

void print_first_tokens(const GpuReport& report) {
  if (report.first_tokens.empty()) return;
  std::printf("\nFirst token: one request, block 32, from its submission on\n");
  std::printf("%-6s %7s %9s %6s %9s %9s %-10s %6s %14s\n", "model", "prompt", "max rows", "steps",
              "ms", "floor ms", "bound by", "ratio", "prompt + step");
  for (const FirstToken& f : report.first_tokens)
    std::printf("%-6s %7d %9d %6d %9.3f %9.3f %-10s %6.2f %14.3f\n", f.model->name, f.prompt,
                f.max_batched, f.steps, f.ms, f.floor.ms(), f.floor.bound(),
                ratio(f.ms, f.floor.ms()), f.prompt_plus_step_ms);
}

Json json_of(const DeviceLimits& limits) {
  Json products = Json::array();
  for (const ProductRate& p : limits.products)
    products.push_back(
        {{"rows", p.rows}, {"n", p.n}, {"k", p.k}, {"tflops", p.operations_per_ms * 1e-9}});
  return {{"copy_gb_s", limits.bytes_per_ms * 1e-6},
          {"bf16_tflops", limits.operations_per_ms() * 1e-9},
          {"products", products}};
}

Json json_of(const Floor& floor) {
  return {{"ms", floor.ms()},
          {"bytes_ms", floor.bytes_ms},
          {"operations_ms", floor.operations_ms},
          {"bound_by", floor.bound()}};
}

Json json_of_trace(const CaseResult& r) {
  Json sequence = Json::array(), kernels = Json::array();
  for (const KernelShare& k : r.trace->sequence)
    sequence.push_back({{"name", k.name}, {"us", k.us_per_step}});
  for (const KernelShare& k : r.trace->kernels)
    kernels.push_back(
        {{"name", k.name}, {"us_per_step", k.us_per_step}, {"count_per_step", k.count_per_step}});
  return {{"steps", r.trace->steps},
          {"device_ms", r.trace->device_ms},
          {"busy_ms", r.trace->busy_ms},
          {"idle_share", r.trace->idle_share},
          {"idle_share_of_untraced_step", idle_untraced(r)},
          {"kernels", kernels},
          {"sequence", sequence}};
}

Json json_of(const CaseResult& r) {
  const CaseTimes& t = r.times;
  Json json = {{"case", r.c.name()},
               {"model", r.c.model->name},
               {"block", r.c.block},
               {"buffer", r.c.buffer},
               {"requests", r.c.requests},
               {"prompt_tokens", kPromptTokens},
               {"rows", r.c.full_rows()},
               {"head_rows", t.head_rows},
               {"steps", t.steps},
               {"load_s", t.load_s},
               {"ms", t.ms},
               {"p90_ms", t.p90_ms},
               {"host_us", t.host_us},
               {"floor", json_of(t.floor)},
               {"ratio", ratio(t.ms, t.floor.ms())}};
  json["goal_ms"] = r.c.goal_ms > 0 ? Json(r.c.goal_ms) : Json(nullptr);
  json["trace"] = r.trace ? json_of_trace(r) : Json(nullptr);
  return json;
}

Json json_of(const FirstToken& f) {
  return {{"model", f.model->name},
          {"prompt_tokens", f.prompt},
          {"max_batched_tokens", f.max_batched},
          {"steps", f.steps},
          {"ms", f.ms},
          {"floor", json_of(f.floor)},
          {"ratio", ratio(f.ms, f.floor.ms())},
          {"prompt_plus_step_ms", f.prompt_plus_step_ms}};
}

}  // namespace

void print(const GpuReport& report) {
  print_limits(report);
  print_cases(report);
  print_first_tokens(report);
  for (const CaseResult& r : report.cases)
    if (r.trace) print_kernels(r);
}

Json to_json(const GpuReport& report) {
  Json json = {{"device", report.device}, {"limits", json_of(report.limits)}};
  json["cases"] = Json::array();
  for (const CaseResult& r : report.cases) json["cases"].push_back(json_of(r));
  json["first_tokens"] = Json::array();
  for (const FirstToken& f : report.first_tokens) json["first_tokens"].push_back(json_of(f));
  json["no_trace"] = report.no_trace.empty() ? Json(nullptr) : Json(report.no_trace);
  return json;
}

}  // namespace diffulex_bench
