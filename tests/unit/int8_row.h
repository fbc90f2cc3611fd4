// Rows of int8 activations, taken apart.
#pragma once

#include <cstring>
#include <vector>

#include "backend/cpu/int8_row.h"

namespace diffulex::testing {

struct Int8Row {
  cpu::Int8RowHead head;
  std::vector<int> q;  // with the padding

  Int8Row(const std::byte* row, int64_t cols) {
    std::memcpy(&head, row, sizeof head);
    const auto* const data = reinterpret_cast<const int8_t*>(row + cpu::kInt8Head);
    q.assign(data, data + cpu::round_up(cols, cpu::kInt8Pad));
  }
};

}  // namespace diffulex::testing
