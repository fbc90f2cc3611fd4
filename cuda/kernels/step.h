// A step in device memory: the plan's bytes and what the host spells out of them, one copy.
#pragma once

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

// All pointers are of the device.
struct StepView {
  const RequestRow* requests = nullptr;
  const int32_t* tokens = nullptr;       // [rows]
  const int32_t* row_request = nullptr;  // [rows]
  const int32_t* head_source = nullptr;  // [heads], a row of the step, or ~slot of a carried one
  const HeadInfo* heads = nullptr;       // [heads]
  const CarryInfo* carries = nullptr;    // [carry_count]
  const AttentionItem* items = nullptr;  // [item_count]
  const decide::LogitAdjust* adjust = nullptr;
  const int32_t* pages = nullptr;  // new page-table entries of all requests
  int32_t request_count = 0, rows = 0, head_count = 0, carry_count = 0, item_count = 0;
};

}  // namespace diffulex::cuda
