#include <array>
#include <string>

#include "base/error.h"
#include "strategy/d2f/d2f.h"
#include "strategy/multi_bd/multi_bd.h"
#include "strategy/strategy.h"

namespace diffulex {
namespace {

// One line per strategy.
constexpr std::array<const Strategy*, 2> kStrategies = {&kMultiBd, &kD2f};

}  // namespace

std::span<const Strategy* const> strategies() { return kStrategies; }

const Strategy& find_strategy(std::string_view name) {
  std::string known;
  for (const Strategy* strategy : kStrategies) {
    if (strategy->name == name) return *strategy;
    known.append(known.empty() ? "" : ", ").append(strategy->name);
  }
  throw Error(DIFFULEX_E_STRATEGY_UNSUPPORTED,
              "unknown strategy '" + std::string(name) + "'; known: " + known)
      .with("option", "strategy")
      .with("allowed", known);
}

}  // namespace diffulex
