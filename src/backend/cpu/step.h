// A step with what the CPU's attention needs beside.
#pragma once

#include <vector>

#include "backend/cpu/attention.h"
#include "backend/step.h"

namespace diffulex::cpu {

class Step : public diffulex::Step {
 public:
  Step(const ArchSpec& arch, const BackendConfig& config)
      : diffulex::Step(arch, config, item_rows(arch)) {
    attention.reserve(static_cast<size_t>(config.max_requests));
  }

  void load(const wire::StepPlan& plan) {
    diffulex::Step::load(plan);
    add_attention();
  }

  void follow(std::span<const decide::Window> windows, std::span<const int32_t> window_tokens) {
    diffulex::Step::follow(windows, window_tokens);
    add_attention();
  }

  uint64_t bytes() const {
    return diffulex::Step::bytes() + attention.capacity() * sizeof(AttentionRequest);
  }

  std::vector<AttentionRequest> attention;  // [requests]

 private:
  void add_attention() {
    attention.clear();
    for (const RequestRow& row : requests)
      attention.push_back({row.first_token, static_cast<int32_t>(row.token_count), row.context_len,
                           table(row.slot), row.attention});
  }

  static int32_t item_rows(const ArchSpec& arch) {  // of the layer whose group is largest
    int group = 1;
    for (const LayerSpec& layer : arch.layers)
      group = group > arch.heads / layer.kv_heads ? group : arch.heads / layer.kv_heads;
    return attention_item_rows(group);
  }
};

}  // namespace diffulex::cpu
