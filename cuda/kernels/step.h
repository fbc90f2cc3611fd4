// A step in device memory: the plan's bytes and what the host spells out of them, one copy.
#pragma once

#include <compare>
#include <cstdint>

#include "backend/plan.h"

namespace diffulex::cuda {

struct HeadInfo {
  int32_t request;   // index of the request
  int32_t position;  // absolute, of the token that is chosen
};

struct CarryInfo {
  int32_t row;   // of the step
  int32_t slot;  // resident row that keeps its hidden state
};

// How much of a step there is. In device memory, so that a recorded launch serves steps of many
// sizes.
struct StepCounts {
  int32_t requests, rows, heads, carries;
};

// What a step's launches are sized for: no less than its counts. Steps of one shape share a graph.
struct StepShape {
  int32_t requests = 0, rows = 0, heads = 0, carries = 0, items = 0, pages = 0;
  int32_t max_keys = 0;  // of a request: cached and in flight
  bool greedy = false;   // every head row takes its best token, and no logit is adjusted
  auto operator<=>(const StepShape&) const = default;
};

// All pointers are of the device.
struct StepView {
  const StepCounts* counts = nullptr;
  const RequestRow* requests = nullptr;
  const int32_t* tokens = nullptr;       // [rows]
  const int32_t* row_request = nullptr;  // [rows]
  const int32_t* head_source = nullptr;  // [heads], a row of the step, or ~slot of a carried one
  const HeadInfo* heads = nullptr;       // [heads]
  const CarryInfo* carries = nullptr;    // [carry_count]
  const AttentionItem* items = nullptr;  // [item_count]
  const decide::LogitAdjust* adjust = nullptr;
  const int32_t* pages = nullptr;  // new page-table entries of all requests
  StepShape shape;
};

}  // namespace diffulex::cuda
