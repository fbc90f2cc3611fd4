#include "engine_case.h"

#include <algorithm>
#include <cstdio>
#include <stdexcept>

namespace diffulex_bench {
namespace {

struct Goal {
  const char* model;
  int block, buffer, requests;
  double ms;
};
constexpr Goal kGoals[] = {
    {"1.7b", 32, 1, 1, 1.35}, {"1.7b", 4, 4, 1, 1.35}, {"1.7b", 32, 4, 1, 1.45},
    {"1.7b", 32, 4, 16, 12},  {"1.7b", 32, 4, 64, 45}, {"1.7b", 4, 1, 1, 0},
    {"1.7b", 4, 1, 128, 0},   {"8b", 32, 1, 1, 5.7},   {"8b", 32, 4, 1, 5.8},
    {"8b", 32, 4, 32, 95},
};

EngineCase case_of(const Goal& g) {
  return {find_shape(g.model), g.block, g.buffer, g.requests, g.ms};
}

EngineCase parse_case(const std::string& word) {
  char model[16] = "";
  EngineCase c;
  const int read =
      std::sscanf(word.c_str(), "%15[^:]:%dx%dx%d", model, &c.block, &c.buffer, &c.requests);
  c.model = find_shape(model);
  if (read != 4 || c.model == nullptr || c.block < 1 || c.buffer < 1 || c.requests < 1)
    throw std::invalid_argument("not a case, as in 1.7b:32x4x16: " + word);
  for (const Goal& g : kGoals)
    if (case_of(g).name() == c.name()) c.goal_ms = g.ms;
  return c;
}

}  // namespace

std::string EngineCase::name() const {
  return std::string(model->name) + ":" + std::to_string(block) + "x" + std::to_string(buffer) +
         "x" + std::to_string(requests);
}

std::vector<EngineCase> default_cases() {
  std::vector<EngineCase> cases;
  for (const Goal& g : kGoals) cases.push_back(case_of(g));
  return cases;
}

std::vector<EngineCase> parse_cases(std::string_view text) {
  std::vector<EngineCase> cases;
  while (!text.empty()) {
    const size_t end = std::min(text.find(','), text.size());
    cases.push_back(parse_case(std::string(text.substr(0, end))));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return cases;
}

diffulex::EngineShape engine_shape(const EngineCase& c, int prompt, int max_batched) {
  diffulex::EngineShape shape;
  shape.block_size = c.block;
  shape.buffer_blocks = c.buffer;
  shape.page_size = 32;
  shape.max_requests = c.requests;
  shape.max_batched_tokens = max_batched > 0 ? max_batched : std::max(512, c.full_rows());
  shape.max_model_len = prompt + kOutputTokens;
  shape.kv_pages = c.requests * (shape.max_model_len / shape.page_size + 1);
  shape.prefix_caching = false;
  return shape;
}

diffulex::BackendConfig backend_config(const diffulex::EngineShape& shape) {
  diffulex::BackendConfig config;
  config.max_requests = shape.max_requests;
  config.max_tokens = shape.max_batched_tokens;
  config.window_stride = shape.block_size * shape.buffer_blocks;
  config.max_head_rows = shape.max_requests * config.window_stride;
  config.max_pages_per_request = shape.max_model_len / shape.page_size;
  config.page_size = shape.page_size;
  config.kv_pages = shape.kv_pages;
  config.weight_dtype = config.kv_dtype = diffulex::DType::kBF16;
  return config;
}

}  // namespace diffulex_bench
