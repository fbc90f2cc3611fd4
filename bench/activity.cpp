#include "activity.h"

#include <cxxabi.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <memory>

#include "numbers.h"

namespace diffulex_bench {
namespace {

// Of a C++ function; a name that is none could be read as a type's.
std::string demangled(const std::string& symbol) {
  if (symbol.rfind("_Z", 0) != 0) return symbol;
  int status = 0;
  const std::unique_ptr<char, decltype(&std::free)> text(
      abi::__cxa_demangle(symbol.c_str(), nullptr, nullptr, &status), &std::free);
  return status == 0 ? text.get() : symbol;
}

// What stands outside of <> and (), those of "(anonymous namespace)" and "operator()" included.
std::string outside_brackets(const std::string& text) {
  std::string out;
  int depth = 0;
  for (const char c : text) {
    if (c == '<' || c == '(') ++depth;
    if (depth == 0) out += c;
    if (c == '>' || c == ')') --depth;
  }
  return out;
}

using Activities = std::vector<Activity>;

// Nanoseconds by which each activity of a step put off the end of what had been done before it, in
// order of their ends; what began early and waited counts from when the one in front had ended.
// Their sum is the time in which something ran.
std::vector<uint64_t> additions(const Activities& by_end) {
  std::vector<uint64_t> begins(by_end.size());  // of what has not ended before
  uint64_t begin = UINT64_MAX;
  for (size_t i = by_end.size(); i-- > 0;) begins[i] = begin = std::min(begin, by_end[i].start);
  std::vector<uint64_t> added;
  uint64_t end = 0;
  for (size_t i = 0; i < by_end.size(); ++i) {
    added.push_back(by_end[i].end - std::max(begins[i], end));
    end = by_end[i].end;
  }
  return added;
}

// What belongs to each step, in order of its end.
std::vector<Activities> by_step(const Activities& activities, const std::vector<uint64_t>& begins) {
  std::vector<Activities> steps(begins.size());
  for (const Activity& a : activities) {
    const auto after = std::upper_bound(begins.begin(), begins.end(), a.start);
    if (after != begins.begin())
      steps[static_cast<size_t>(after - begins.begin()) - 1].push_back(a);
  }
  std::erase_if(steps, [](const Activities& step) { return step.empty(); });
  for (Activities& step : steps)
    std::sort(step.begin(), step.end(),
              [](const Activity& a, const Activity& b) { return a.end < b.end; });
  return steps;
}

uint64_t start_of(const Activities& step) {
  uint64_t start = UINT64_MAX;
  for (const Activity& a : step) start = std::min(start, a.start);
  return start;
}

std::vector<KernelShare> ranked(std::map<std::string, KernelShare>& by_name, double steps) {
  std::vector<KernelShare> kernels;
  for (auto& [name, share] : by_name)
    kernels.push_back({name, share.us_per_step / steps, share.count_per_step / steps});
  std::sort(kernels.begin(), kernels.end(), [](const KernelShare& a, const KernelShare& b) {
    return a.us_per_step > b.us_per_step;
  });
  return kernels;
}

}  // namespace

std::string function_name(const std::string& symbol) {
  std::string name = demangled(symbol);
  if (name == symbol) return symbol;  // no C++ name
  name = outside_brackets(name);
  if (const size_t colon = name.rfind("::"); colon != std::string::npos) name.erase(0, colon + 2);
  if (const size_t space = name.rfind(' '); space != std::string::npos) name.erase(0, space + 1);
  return name;
}

TraceSummary summarize(const std::vector<Activity>& activities,
                       const std::vector<uint64_t>& begins) {
  const std::vector<Activities> steps = by_step(activities, begins);
  TraceSummary summary;
  if (steps.empty()) return summary;
  std::map<std::string, KernelShare> by_name;
  std::vector<double> spans;
  double busy = 0;
  for (const Activities& step : steps) {
    const std::vector<uint64_t> added = additions(step);
    for (size_t i = 0; i < step.size(); ++i) {
      const std::string name = function_name(step[i].name);
      const double us = static_cast<double>(added[i]) * 1e-3;
      KernelShare& share = by_name[name];
      share.us_per_step += us;
      share.count_per_step += 1;
      busy += us * 1e-3;
      if (&step == &steps.back()) summary.sequence.push_back({name, us, 1});
    }
    spans.push_back(static_cast<double>(step.back().end - start_of(step)) * 1e-6);
  }
  const auto count = static_cast<double>(steps.size());
  const double all = static_cast<double>(steps.back().back().end - start_of(steps.front())) * 1e-6;
  summary.steps = static_cast<int>(steps.size());
  summary.device_ms = median(spans);
  summary.busy_ms = busy / count;
  summary.idle_share = all > 0 ? 1 - busy / all : 0;
  summary.kernels = ranked(by_name, count);
  return summary;
}

}  // namespace diffulex_bench
