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

// Activities of one step, in order of their ends.
struct StepActivities {
  uint64_t start = 0, end = 0, busy = 0;

  // Returns by how much it put off the end. A kernel that began early and waited counts from when
  // the one in front had ended.
  uint64_t add(const Activity& a) {
    if (start == 0) start = end = a.start;
    const uint64_t added = a.end - std::max(a.start, end);
    busy += added;
    end = a.end;
    return added;
  }
};

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

TraceSummary summarize(std::vector<Activity> activities, const std::vector<uint64_t>& begins) {
  std::sort(activities.begin(), activities.end(),
            [](const Activity& a, const Activity& b) { return a.end < b.end; });
  TraceSummary summary;
  std::vector<StepActivities> steps(begins.size());
  std::map<std::string, KernelShare> by_name;
  for (const Activity& a : activities) {
    const auto after = std::upper_bound(begins.begin(), begins.end(), a.start);
    if (after == begins.begin()) continue;
    const double us =
        static_cast<double>(steps[static_cast<size_t>(after - begins.begin()) - 1].add(a)) * 1e-3;
    const std::string name = function_name(a.name);
    KernelShare& share = by_name[name];
    share.us_per_step += us;
    share.count_per_step += 1;
    if (after == begins.end()) summary.sequence.push_back({name, us, 1});
  }
  std::erase_if(steps, [](const StepActivities& s) { return s.start == 0; });
  if (steps.empty()) return summary;
  std::vector<double> spans;
  double busy = 0;
  for (const StepActivities& s : steps) {
    spans.push_back(static_cast<double>(s.end - s.start) * 1e-6);
    busy += static_cast<double>(s.busy) * 1e-6;
  }
  const auto count = static_cast<double>(steps.size());
  const double all = static_cast<double>(steps.back().end - steps.front().start) * 1e-6;
  summary.steps = static_cast<int>(steps.size());
  summary.device_ms = median(spans);
  summary.busy_ms = busy / count;
  summary.idle_share = all > 0 ? 1 - busy / all : 0;
  summary.kernels = ranked(by_name, count);
  return summary;
}

}  // namespace diffulex_bench
